"""PYTHON_FUNCTION: the keys of the body are the arguments, what is returned is the answer."""

import inspect
import json
import os
import sys
import time
from urllib.parse import parse_qs

from dataiku.apinode import DkuCustomHttpResponse
from dataiku.apinode import utils

from .custom import given_names, set_request
from .encoding import encode
from .failures import AnswerInvalid, ArgumentInvalid, BodyInvalid
from .loading import find_function, load_module, signature_text

RECURSION_MAX = 1000
QUERY_FIELDS_MAX = 1000


class FunctionEndpoint:
    def __init__(self, setup, runner):
        utils._calls.service = setup["service"]
        self._runner = runner
        self._raw = setup["raw"]
        path = os.path.abspath(setup["file"])
        self._module = load_module(path, given_names())
        self._function = find_function(self._module, setup["name"])
        self.name = setup["name"]
        self.signature = signature_text(self._function)
        self._parameters = Parameters(self._function)
        self.arguments = self._parameters.listed()

    def call(self, header, body):
        query = header.get("query")
        arguments = from_body(body) if query is None else from_query(query)
        self._parameters.check(arguments)
        set_request(self._module, header)
        started = time.perf_counter_ns()
        result = self._runner.settle(self._function(**arguments))
        micros = (time.perf_counter_ns() - started) // 1000
        if isinstance(result, DkuCustomHttpResponse):
            return self._custom(result, micros)
        return {"us": micros}, encode(result)

    def _custom(self, response, micros):
        if not self._raw:
            raise AnswerInvalid(
                'the function returned a DkuCustomHttpResponse: the endpoint needs "rawResponse": '
                "true in service.json"
            )
        status, body = response.status, response.body
        if isinstance(status, bool) or not isinstance(status, int):
            raise AnswerInvalid("the status of the response is a %s" % type(status).__name__)
        if isinstance(body, str):
            body = body.encode("utf-8", "surrogatepass")
        elif isinstance(body, (bytes, bytearray, memoryview)):
            body = bytes(body)
        elif body is None:
            body = b""
        else:
            raise AnswerInvalid("the body of the response is a %s" % type(body).__name__)
        headers = [[str(name), str(value)] for name, value in response.headers.items()]
        return {"us": micros, "raw": {"status": status, "headers": headers}}, body


class Parameters:
    """Names that the function takes; without a signature it is asked to judge for itself."""

    def __init__(self, function):
        self._any = False
        # In the order of the signature, which a set would lose.
        self._allowed = {}
        self._required = set()
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            self._any = True
            return
        for parameter in parameters:
            if parameter.kind is parameter.VAR_KEYWORD:
                self._any = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                self._allowed[parameter.name] = True
                if parameter.default is parameter.empty:
                    self._required.add(parameter.name)

    def listed(self):
        """Names in their order, each with whether it must be given; None: any name is taken."""
        if self._any:
            return None
        return [[name, name in self._required] for name in self._allowed]

    def check(self, arguments):
        names = arguments.keys()
        if self._required <= names and (self._any or names <= self._allowed.keys()):
            return
        faults = []
        missing = sorted(self._required - names)
        if missing:
            faults.append("missing: " + quoted(missing))
        unknown = [] if self._any else sorted(names - self._allowed.keys())
        if unknown:
            faults.append("unknown: " + quoted(unknown))
            faults.append("the function takes " + (quoted(sorted(self._allowed)) or "none"))
        raise ArgumentInvalid("; ".join(faults))


def quoted(names):
    shown = ['"%s"' % (name if len(name) <= 60 else name[:57] + "...") for name in names[:20]]
    return ", ".join(shown) + (" and %d more" % (len(names) - 20) if len(names) > 20 else "")


def from_body(body):
    if not body:
        return {}
    # Code that raises the limit must not let a body run out of the stack of the process.
    limit = sys.getrecursionlimit()
    if limit > RECURSION_MAX:
        sys.setrecursionlimit(RECURSION_MAX)
    try:
        arguments = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise BodyInvalid("the body is not valid UTF-8")
    except RecursionError:
        raise BodyInvalid("the JSON is nested too deep")
    except ValueError as error:
        raise BodyInvalid("the body is not JSON: %s" % error)
    finally:
        if limit > RECURSION_MAX:
            sys.setrecursionlimit(limit)
    if not isinstance(arguments, dict):
        raise BodyInvalid("the body must be a JSON object, argument to value")
    return arguments


def from_query(query):
    """Values are texts; an argument that comes more than once is a list of them."""
    try:
        fields = parse_qs(
            query, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX
        )
    except UnicodeDecodeError:
        raise ArgumentInvalid("the query is not valid UTF-8")
    except ValueError as error:
        raise ArgumentInvalid("the query cannot be read: %s" % error)
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
