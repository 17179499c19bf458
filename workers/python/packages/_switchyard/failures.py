"""Failures of a call as they are told to the node, and what is written to the log about them."""

import sys
import traceback


class Failure(Exception):
    """What the harness itself finds wrong; `code` is one of the node's."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class AnswerInvalid(Failure):
    def __init__(self, message):
        super().__init__("ERR_ANSWER_INVALID", message)


class ArgumentInvalid(Failure):
    def __init__(self, message):
        super().__init__("ERR_ARGUMENT_INVALID", message)


class BodyInvalid(Failure):
    def __init__(self, message):
        super().__init__("ERR_BODY_INVALID", message)


class DeadlinePassed(BaseException):
    """Raised inside user code by the signal; no Exception, or `except Exception` would eat it."""


def text_of(error):
    """Message of an exception; its own __str__ may fail."""
    try:
        return str(error)
    except BaseException as failure:
        return "<the message of the error cannot be made: %s>" % type(failure).__name__


def describe(error):
    """Type and message, a few thousand characters at most; the node cuts further."""
    name = type(error).__name__
    if isinstance(error, SystemExit):
        return "SystemExit: %s" % (text_of(error) or "0")[:2000]
    message = text_of(error)[:2000]
    return "%s: %s" % (name, message) if message else name


def log_traceback(error):
    """Frames of the harness say nothing to the author of the code, so they are left out."""
    trace = error.__traceback__
    while trace is not None and "_switchyard" in trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next
    try:
        lines = traceback.format_exception(type(error), error, trace or error.__traceback__)
        text = "".join(lines)
    except BaseException as failure:
        text = "%s (no traceback: %s)\n" % (type(error).__name__, type(failure).__name__)
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BaseException:
        # The code may have closed or replaced its streams: then there is no log to write to.
        pass


def line_in(error, path):
    """Line of `path` at which the error was raised, as deep as possible; None when not in it."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno
    line = None
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == path:
            line = number
    return line
