"""What a Python child runs: it loads the code of one endpoint and answers calls until it is let go.

Frames travel on descriptor 3, so that whatever the code prints is log and never protocol. One call
at a time; the answer of a call is the only thing that is ever written. Standard library only,
Python 3.8 and later.
"""

import os
import signal
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
FRAMES = 3


def die_with_parent():
    """Second line of defence: setpriv has said so already where the system has it."""
    try:
        import ctypes

        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (ImportError, OSError, AttributeError):
        pass


def prepare_paths():
    """The folder of this file makes way for our packages; user code comes in front of them."""
    packages = os.path.join(HERE, "packages")
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != HERE]
    sys.path.insert(0, packages)


def prepare_streams():
    """Sockets that Node has made may come non-blocking: a print would then fail when it is full."""
    for descriptor in (1, 2):
        try:
            os.set_blocking(descriptor, True)
        except OSError:
            pass
    connection = socket.socket(fileno=FRAMES)
    connection.setblocking(True)
    connection.set_inheritable(False)
    # A fork that does not exec would else hold the connection open, and could write into it.
    os.register_at_fork(after_in_child=connection.close)
    return connection


def refuse_old():
    if sys.version_info < (3, 8):
        sys.stderr.write("Python 3.8 or later is needed; %s is %s\n" % (sys.executable, sys.version))
        sys.stderr.flush()
        os._exit(3)


def main():
    refuse_old()
    # Not SIG_IGN: programs that the code starts would inherit it and could not be ended any more.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)
    die_with_parent()
    prepare_paths()
    connection = prepare_streams()
    from _switchyard.serving import serve

    serve(connection)


if __name__ == "__main__":
    main()
