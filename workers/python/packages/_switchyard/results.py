"""Everything that a predictor may return, brought to one form.

Documented forms: predictions; (predictions, probabilities, custom keys) of a classification and
(predictions, custom keys) of a regression, of which all but the first may be None. Beside pandas
objects, arrays and lists do; so does a list with one dict per row.
"""

import math
import numbers

from .encoding import encode
from .failures import AnswerInvalid

ROW_KEYS = {"prediction", "probas", "probaPercentile", "customKeys"}


def normalise(result, kind, rows, classes):
    """predictions, probas, percentiles, keys: lists with one entry per row, or None."""
    predictions, probas, keys = parts(result, kind)
    if probas is None and kind != "REGRESSION" and is_matrix(predictions):
        # What predict_proba() of usual libraries returns.
        predictions, probas = None, predictions
    if predictions is None and probas is None:
        raise AnswerInvalid("predict() returned no predictions")
    listed = None if predictions is None else to_list(predictions, "the predictions")
    if listed and all(isinstance(row, dict) for row in listed) and probas is None:
        return from_records(listed, kind, rows, classes)
    return {
        "predictions": labels_or_numbers(listed, kind, rows, classes),
        "probas": None if probas is None else probabilities(probas, rows, classes),
        "percentiles": None,
        "keys": None if keys is None else custom_keys(keys, rows),
    }


def parts(result, kind):
    if not isinstance(result, tuple) or not result or is_scalar(result[0]):
        return result, None, None
    if kind == "REGRESSION" and len(result) == 2:
        return result[0], None, result[1]
    if len(result) > 3:
        raise AnswerInvalid(
            "predict() returned %d values: at most predictions, probabilities, custom keys"
            % len(result)
        )
    predictions, probas, keys = result + (None,) * (3 - len(result))
    return predictions, None if kind == "REGRESSION" else probas, keys


def is_scalar(value):
    # numpy's truth values are no numbers.
    return isinstance(value, (str, numbers.Number)) or type(value).__name__ in ("bool_", "bool")


def is_matrix(value):
    return getattr(value, "ndim", 0) == 2 and value.shape[1] > 1 and not named_prediction(value)


def named_prediction(value):
    return "prediction" in getattr(value, "columns", ())


def to_list(values, what):
    if named_prediction(values):
        values = values["prediction"]
    if getattr(values, "ndim", 1) == 2 and values.shape[1] == 1:
        values = values.to_numpy() if hasattr(values, "to_numpy") else values
        values = values.reshape(-1)
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, (str, bytes, dict)):
        raise AnswerInvalid("%s are a %s, not one per row" % (what, type(values).__name__))
    try:
        return list(values)
    except TypeError:
        raise AnswerInvalid("%s are a %s, not one per row" % (what, type(values).__name__))


def counted(values, rows, what):
    if len(values) != rows:
        raise AnswerInvalid("predict() returned %d %s for %d rows" % (len(values), what, rows))
    return values


def from_records(records, kind, rows, classes):
    counted(records, rows, "results")
    for index, record in enumerate(records):
        if record.get("prediction") is None and record.get("probas") is None:
            continue
        odd = record.get("probas")
        if odd is not None and not isinstance(odd, dict):
            raise AnswerInvalid(
                '"probas" of row %d is a %s, not class to probability' % (index, type(odd).__name__)
            )
    # None says that a row is left out; where no row says anything, probabilities decide.
    told = any("prediction" in record for record in records)
    predictions = [record.get("prediction") for record in records] if told else None
    probas = None
    if kind != "REGRESSION" and any(record.get("probas") is not None for record in records):
        probas = [record.get("probas") for record in records]
    return {
        "predictions": labels_or_numbers(predictions, kind, rows, classes),
        "probas": None if probas is None else probabilities(probas, rows, classes),
        "percentiles": percentiles(records),
        "keys": custom_keys([row_keys(record) for record in records], rows),
    }


def row_keys(record):
    keys = dict(record.get("customKeys") or {})
    keys.update((name, value) for name, value in record.items() if name not in ROW_KEYS)
    return keys or None


def percentiles(records):
    values = [record.get("probaPercentile") for record in records]
    if all(value is None for value in values):
        return None
    return [None if value is None else int(value) for value in values]


def labels_or_numbers(values, kind, rows, classes):
    if values is None:
        return None
    counted(values, rows, "predictions")
    if kind == "REGRESSION":
        return [number(value, index) for index, value in enumerate(values)]
    known = set() if classes is None else {as_text(name) for name in classes}
    return [label(value, index, known) for index, value in enumerate(values)]


def number(value, index):
    if is_missing(value):
        return None
    if isinstance(value, str) or not isinstance(value, numbers.Number):
        if not hasattr(value, "__float__"):
            kind = type(value).__name__
            raise AnswerInvalid(
                "prediction %d is a %s: a regression predicts numbers" % (index, kind)
            )
    if isinstance(value, complex):
        raise AnswerInvalid("prediction %d is a complex number" % index)
    value = value if type(value) is int else float(value)
    return value if math.isfinite(value) else None


def is_missing(value):
    """None, NaN, pandas.NA and pandas.NaT, without pandas."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        # pandas.NA is neither true nor false.
        return type(value).__name__ == "NAType"


def as_text(value):
    return value if type(value) is str else str(value)


def label(value, index, known):
    """A class as text; where the manifest writes numbers and flags in its own way, as there."""
    if is_missing(value):
        return None
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, str):
        return str(value)
    if not isinstance(value, (bool, int, float)):
        if hasattr(value, "isoformat"):
            return value.isoformat()
        raise AnswerInvalid("prediction %d is a %s, not a class" % (index, type(value).__name__))
    text = str(value)
    if text in known or not known:
        return text
    other = str(value).lower() if isinstance(value, bool) else "%g" % value
    return other if other in known else text


def probabilities(probas, rows, classes):
    """classes: names in the order of the columns, None: those of the manifest; one row per row."""
    known = None if classes is None else [as_text(name) for name in classes]
    if hasattr(probas, "columns"):
        names = [label(name, 0, set(known or ())) for name in probas.columns]
        table = probas.to_numpy().tolist()
    elif isinstance(probas, (list, tuple)) and all(p is None or type(p) is dict for p in probas):
        return dictionaries(probas, rows, known)
    else:
        names, table = known, to_list(probas, "the probabilities")
        if table and not isinstance(table[0], (list, tuple)) and not hasattr(table[0], "tolist"):
            table = [[value] for value in table]
        table = [row.tolist() if hasattr(row, "tolist") else list(row) for row in table]
    counted(table, rows, "rows of probabilities")
    width = len(table[0]) if table else 0
    if names is not None and len(names) == 2 and width == 1:
        table = [[1 - row[0], row[0]] for row in table]
        width = 2
    if names is None:
        raise AnswerInvalid(
            "probabilities without names: return a DataFrame with one column per class, or list "
            '"classes" in service.json'
        )
    if width != len(names) or any(len(row) != width for row in table):
        raise AnswerInvalid("%d columns of probabilities for %d classes" % (width, len(names)))
    return {"classes": names, "rows": [[probability(p) for p in row] for row in table]}


def dictionaries(probas, rows, known):
    counted(probas, rows, "rows of probabilities")
    names = list(known or ())
    texts = set(names)
    table = []
    for index, given in enumerate(probas):
        row = {label(key, index, texts): value for key, value in (given or {}).items()}
        names.extend(name for name in row if name not in names)
        table.append(row)
    rows_of = [[probability(row.get(name)) for name in names] for row in table]
    return {"classes": names, "rows": rows_of}


def probability(value):
    if is_missing(value):
        return None
    try:
        value = float(value)
    except (TypeError, ValueError):
        raise AnswerInvalid("a probability is a %s" % type(value).__name__)
    return value if math.isfinite(value) else None


def custom_keys(keys, rows):
    """As JSON texts: they pass through the node without being read there."""
    listed = counted(to_list(keys, "the custom keys"), rows, "custom keys")
    texts = []
    for index, given in enumerate(listed):
        if given is not None and not isinstance(given, dict):
            raise AnswerInvalid(
                "the custom keys of row %d are a %s, not a dict" % (index, type(given).__name__)
            )
        texts.append(encode(given, "custom keys").decode("ascii") if given else None)
    return None if all(text is None for text in texts) else texts
