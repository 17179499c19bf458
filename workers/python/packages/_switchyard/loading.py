"""Loads the file of an endpoint and finds the function or class in it."""

import importlib.util
import inspect
import os
import sys

from .failures import describe, line_in, log_traceback, text_of


class LoadFailed(Exception):
    """`report` is what the node is told."""

    def __init__(self, message, line=None, module=None):
        super().__init__(message)
        self.report = {"message": message[:4000], "line": line, "module": module}


def load_module(path, given):
    """`given`: names that the code finds in its file without importing them."""
    folder = os.path.dirname(path)
    for entry in (os.getcwd(), folder):
        if entry in sys.path:
            sys.path.remove(entry)
        sys.path.insert(0, entry)
    name = module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadFailed("the file does not look like Python code: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    module.__dict__.update(given)
    # Pickles name the module of a class, so it is found under its own name as well.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        log_traceback(error)
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        raise LoadFailed(describe(error), line_in(error, path), missing)
    return module


def module_name(path):
    """The file's own name, unless a module that others need has it already."""
    stem = os.path.splitext(os.path.basename(path))[0]
    taken = set(sys.modules) | set(getattr(sys, "stdlib_module_names", ()))
    return stem if stem.isidentifier() and stem not in taken else "endpoint_" + stem


def find_function(module, name):
    function = getattr(module, name, None)
    if callable(function):
        return function
    if function is not None:
        raise LoadFailed('"%s" is a %s, not a function' % (name, type(function).__name__))
    found = [key for key, value in vars(module).items() if inspect.isfunction(value)]
    raise LoadFailed('the file has no function "%s"; it has %s' % (name, listed(found)))


def find_class(module, name, bases):
    """The named class, or the only one that the file itself defines and that can predict."""
    if name:
        found = getattr(module, name, None)
        if inspect.isclass(found):
            return found
        raise LoadFailed('the file has no class "%s"; it has %s' % (name, listed(classes(module))))
    own = [value for value in classes(module).values() if callable(getattr(value, "predict", None))]
    # The base that fits the endpoint counts most, then any of ours, then the method alone.
    suitable = next(filter(None, ([c for c in own if issubclass(c, b)] for b in bases)), own)
    if len(suitable) == 1:
        return suitable[0]
    names = [value.__name__ for value in suitable]
    if not names:
        raise LoadFailed("the file has no class with a method predict(features)")
    raise LoadFailed("several classes have predict(): name one of %s as class" % listed(names))


def classes(module):
    return {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__
    }


def construct(found, data_folder, path):
    """The constructor gets the data folder if it takes it."""
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        signature = None
    arguments = ()
    if signature is not None:
        try:
            signature.bind(data_folder)
            arguments = (data_folder,)
        except TypeError:
            try:
                signature.bind()
            except TypeError as error:
                raise LoadFailed("%s%s: %s" % (found.__name__, signature, text_of(error)))
    try:
        return found(*arguments)
    except BaseException as error:
        log_traceback(error)
        raise LoadFailed(describe(error), line_in(error, path))


def signature_text(function):
    try:
        return str(inspect.signature(function))[:1000]
    except (TypeError, ValueError):
        return None


def listed(names):
    names = sorted(names)
    if not names:
        return "none"
    more = "" if len(names) <= 20 else " and %d more" % (len(names) - 20)
    return ", ".join(names[:20]) + more
