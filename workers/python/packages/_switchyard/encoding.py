"""What user code returns, as JSON: with numpy, pandas and the usual types of the library.

The encoder written in C does nearly all answers alone. Only what it refuses (NaN, keys that are no
text, types it has never heard of) is walked through in Python, which also finds out where it is.
"""

import datetime
import decimal
import enum
import json
import math
import sys

from .failures import AnswerInvalid

DEPTH_MAX = 256


class _Unknown(Exception):
    pass


def _convert(value):
    """One step towards what JSON knows; raises _Unknown for what has no form in JSON."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        # pandas' "not a time" is one of them.
        return None if value != value else value.isoformat()
    if isinstance(value, decimal.Decimal):
        return _decimal(value)
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None:
        if isinstance(value, (numpy.datetime64, numpy.timedelta64)):
            return None if numpy.isnat(value) else str(value)
        if isinstance(value, (numpy.integer, numpy.floating, numpy.bool_)):
            return value.item()
        if isinstance(value, numpy.ndarray):
            return [v for v in value] if value.dtype.kind in "mM" and value.ndim else value.tolist()
    if pandas is not None:
        if value is pandas.NA or value is pandas.NaT:
            return None
        if isinstance(value, pandas.DataFrame):
            return value.to_dict("records")
        if isinstance(value, (pandas.Series, pandas.Index)):
            return value.tolist()
        if isinstance(value, (pandas.Categorical, pandas.api.extensions.ExtensionArray)):
            return list(value)
    raise _Unknown


def _decimal(value):
    if not value.is_finite():
        return None
    whole = value == value.to_integral_value() and abs(value) < 2**63
    return int(value) if whole else float(value)


_encode = json.JSONEncoder(allow_nan=False, default=_convert, separators=(",", ":")).encode


def encode(value, what="response"):
    """Bytes of JSON: ASCII, so halves of surrogate pairs do no harm. Raises AnswerInvalid."""
    try:
        return _encode(value).encode("ascii")
    except (_Unknown, TypeError, ValueError, RecursionError, OverflowError):
        pass
    plain = _plain(value, what, 0)
    try:
        return _encode(plain).encode("ascii")
    except (_Unknown, TypeError, ValueError) as error:
        raise AnswerInvalid("%s cannot be written as JSON: %s" % (what, error))


def _plain(value, where, depth):
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, int):
        return int(value)
    if depth > DEPTH_MAX:
        raise AnswerInvalid("the answer is nested over %d levels" % DEPTH_MAX)
    if isinstance(value, dict):
        result = {}
        for key, item in value.items():
            name = _key(key, where)
            result[name] = _plain(item, "%s[%s]" % (where, _short(name)), depth + 1)
        return result
    if isinstance(value, (list, tuple)):
        items = []
        for index, item in enumerate(value):
            items.append(_plain(item, "%s[%d]" % (where, index), depth + 1))
        return items
    try:
        converted = _convert(value)
    except _Unknown:
        kind = type(value)
        module = "" if kind.__module__ == "builtins" else kind.__module__ + "."
        name = module + kind.__name__
        raise AnswerInvalid("%s is of type %s, which has no form in JSON" % (where, name))
    return _plain(converted, where, depth + 1)


def _key(key, where):
    if isinstance(key, str):
        return key
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, (int, float)):
        return str(key)
    if isinstance(key, tuple):
        return str(key)
    try:
        converted = _convert(key)
    except _Unknown:
        raise AnswerInvalid("%s has a key of type %s" % (where, type(key).__name__))
    return _key(converted, where) if converted is not key else str(key)


def _short(text):
    return json.dumps(text if len(text) <= 60 else text[:57] + "...")
