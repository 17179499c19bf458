"""CUSTOM_PREDICTION: rows to a predictor, and what it returns to one entry per row.

The header of a call says how its rows are written: `matrix` is little-endian doubles, row by row,
`columns` a JSON list of values per column, `records` a JSON list of objects.
"""

import json
import os
import time

from dataiku.apinode import utils
from dataiku.apinode.predict.predictor import (
    BasePredictor,
    ClassificationPredictor,
    RegressionPredictor,
)

from .custom import given_names, set_request
from .encoding import encode
from .loading import construct, find_class, load_module, signature_text
from .results import normalise

BASES = {"REGRESSION": RegressionPredictor}
DTYPES = {"number": "float64", "boolean": "bool"}


class PredictionEndpoint:
    def __init__(self, setup, runner):
        utils._calls.service = setup["service"]
        self._runner = runner
        self._kind = setup["prediction"]
        self._input = setup["input"]
        self._classes = setup["classes"]
        self._import_input()
        path = os.path.abspath(setup["file"])
        self._module = load_module(path, given_names())
        wanted = BASES.get(self._kind, ClassificationPredictor)
        found = find_class(self._module, setup["name"], (wanted, BasePredictor))
        folder = os.path.abspath(setup["dataFolder"] or ".")
        self._predictor = construct(found, folder, path)
        self.name = found.__name__
        self.signature = signature_text(self._predictor.predict)

    def _import_input(self):
        """Now, so that a package that is missing is told when the endpoint is opened."""
        if self._input == "records":
            return
        from .loading import LoadFailed

        try:
            if self._input == "numpy":
                import numpy  # noqa: F401
            else:
                import pandas  # noqa: F401
        except ImportError as error:
            raise LoadFailed(
                '"input": "%s" needs a package: %s' % (self._input, error), None, error.name
            )

    def call(self, header, body):
        set_request(self._module, header)
        rows = header["rows"]
        features = self._features(header, body, rows)
        started = time.perf_counter_ns()
        result = self._runner.settle(self._predictor.predict(features))
        micros = (time.perf_counter_ns() - started) // 1000
        known = self._classes or getattr(self._predictor, "classes_", None)
        answer = normalise(result, self._kind, rows, known)
        return {"us": micros}, encode(answer, "the answer")

    def _features(self, header, body, rows):
        form = header["form"]
        if form == "records":
            return json.loads(body)
        names = header["columns"]
        if form == "matrix":
            import numpy

            # Out of a bytearray: what is made of bytes could not be changed in place.
            matrix = numpy.frombuffer(bytearray(body), "<f8").reshape(rows, len(names))
            if self._input == "numpy":
                return matrix
            import pandas

            return pandas.DataFrame(matrix, columns=names, copy=False)
        import pandas

        frame = pandas.DataFrame(dict(zip(names, json.loads(body))), columns=names)
        types = {name: DTYPES[kind] for name, kind in header["kinds"] if kind in DTYPES}
        return frame.astype(types, copy=False) if types else frame
