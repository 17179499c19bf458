"""Prints the functions and classes of a Python file as JSON, without running any of it.

Standard library only, Python 3.8 and later.
"""

import ast
import json
import sys


def literal(node):
    """The value of a default, as far as JSON can say it."""
    value = ast.literal_eval(node)
    text = json.dumps(value, allow_nan=False)
    if json.loads(text) != value:
        raise ValueError("it comes back as something else")
    return value


def argument(name, default):
    told = {"name": name, "optional": default is not None}
    if default is not None:
        try:
            told["value"] = literal(default)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            pass
    return told


def function(node):
    given = node.args
    positional = getattr(given, "posonlyargs", []) + given.args
    defaults = [None] * (len(positional) - len(given.defaults)) + given.defaults
    pairs = list(zip(positional, defaults)) + list(zip(given.kwonlyargs, given.kw_defaults))
    return {
        "name": node.name,
        "arguments": [argument(one.arg, default) for one, default in pairs],
        "open": given.kwarg is not None,
    }


def last_name(node):
    while isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def is_function(node):
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def predicts(node):
    return any(is_function(one) and one.name == "predict" for one in node.body)


def main(path):
    with open(path, "rb") as file:
        source = file.read()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        place = "" if line is None else "line %s: " % line
        sys.exit("%s%s" % (place, getattr(error, "msg", error)))
    functions = [function(node) for node in tree.body if is_function(node)]
    classes = [
        {"name": node.name, "bases": [last_name(base) for base in node.bases]}
        for node in tree.body
        if isinstance(node, ast.ClassDef) and predicts(node)
    ]
    json.dump({"functions": functions, "classes": classes}, sys.stdout)


main(sys.argv[1])
