"""Runs user code so that a signal can end it, and awaits what is to be awaited."""

import asyncio
import inspect
import signal

from .failures import DeadlinePassed


class Runner:
    """SIGUSR1 raises only while `run` is inside user code: anywhere else it would tear a frame."""

    def __init__(self):
        self._armed = False
        self._loop = None
        self.install()

    def install(self):
        """Again after the code was loaded: it may have set handlers of its own."""
        signal.signal(signal.SIGUSR1, self._interrupt)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _ignore)

    def _interrupt(self, _number, _frame):
        if self._armed:
            self._armed = False
            raise DeadlinePassed

    def run(self, work):
        """Result of `work()`; raises what it raises, DeadlinePassed among it."""
        self._armed = True
        try:
            return work()
        finally:
            self._armed = False

    def settle(self, result):
        """Inside `run`: the value of a coroutine, or the result itself."""
        return self._await(result) if inspect.isawaitable(result) else result

    def _await(self, awaitable):
        """All calls share one loop, so that clients and pools made in one call live in the next."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        loop = self._loop
        task = asyncio.ensure_future(awaitable, loop=loop)
        try:
            return loop.run_until_complete(task)
        except BaseException:
            if not task.done():
                # What refuses to be cancelled is still running when the node's grace ends.
                task.cancel()
                loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            raise


def _ignore(_number, _frame):
    """A handler and not SIG_IGN, which programs started by the code would inherit."""
