"""The life of a child: one frame opens the endpoint, each further frame is a call."""

import gc
import os
import platform
import sys
import warnings

from .custom import find_status
from .failures import DeadlinePassed, Failure, describe, log_traceback
from .frames import Frames
from .loading import LoadFailed
from .running import Runner


def serve(connection):
    frames = Frames(connection)
    runner = Runner()
    owner = os.getpid()
    opened = frames.read()
    if opened is None:
        leave(0)
    setup = opened[0]
    try:
        endpoint, facts = open_endpoint(setup, runner)
    except LoadFailed as failure:
        frames.write({"id": setup["id"], "ok": False, **failure.report, "python": sys.executable})
        leave(1)
    runner.install()
    # What is loaded stays: no collection needs to look at it again.
    gc.collect()
    gc.freeze()
    frames.write({"id": setup["id"], "ok": True, **facts})
    limit = setup["answerBytesMax"]
    while True:
        frame = frames.read()
        if frame is None:
            leave(0)
        header, body = answer(endpoint, runner, *frame)
        if os.getpid() != owner:
            # The code has forked and its copy came back here: the answer is not the copy's to give.
            os._exit(0)
        if len(body) > limit:
            message = "the answer has %d bytes, at most %d are allowed" % (len(body), limit)
            header, body = {"error": "ERR_ANSWER_INVALID", "message": message}, b""
        header["id"] = frame[0]["id"]
        frames.write(header, body)


def open_endpoint(setup, runner):
    """Imports only what the kind of endpoint needs: half of the start is imports."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        if setup["kind"] == "function":
            from .functions import FunctionEndpoint as Endpoint
        else:
            from .predictions import PredictionEndpoint as Endpoint
        endpoint = Endpoint(setup, runner)
    texts = ["%s: %s" % (each.category.__name__, each.message) for each in caught[:20]]
    return endpoint, {
        "python": platform.python_version(),
        "name": endpoint.name,
        "signature": endpoint.signature,
        "arguments": getattr(endpoint, "arguments", None),
        "warnings": [text[:500] for text in texts],
    }


def answer(endpoint, runner, header, body):
    """Header and body of the answer, whatever the code does."""
    try:
        return runner.run(lambda: endpoint.call(header, body))
    except DeadlinePassed:
        return {"error": "ERR_DEADLINE", "message": "the code was stopped at its deadline"}, b""
    except Failure as failure:
        return {"error": failure.code, "message": str(failure)[:4000]}, b""
    except BaseException as error:
        status = find_status(error)
        if status is not None:
            number, message = status
            return {"error": "ERR_CODE_RAISED", "message": message[:4000], "status": number}, b""
        log_traceback(error)
        return {"error": "ERR_CODE_RAISED", "message": describe(error)}, b""


def leave(code):
    """At once: threads of the code would else keep the process for as long as they like."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
    os._exit(code)
