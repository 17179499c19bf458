"""The model of the Python peers: takes the description that the benchmark gives (JSON), holds one
session of ONNX Runtime, and turns rows into the same answers as the node gives.
"""

import json

import numpy
import onnxruntime


class Model:
    def __init__(self, description):
        spec = json.loads(description)
        options = onnxruntime.SessionOptions()
        # 0 is what ONNX Runtime takes by itself.
        options.intra_op_num_threads = spec['threads']
        self.session = onnxruntime.InferenceSession(
            spec['model'], options, providers=['CPUExecutionProvider']
        )
        self.inputs = spec['inputs']
        self.classes = spec['classes']
        self.outputs = ['scores'] if self.classes is None else ['probas']

    def feeds(self, rows):
        """One array for each input out of dicts of features."""
        feeds = {}
        for one in self.inputs:
            dtype = numpy.float32 if one['datatype'] == 'float32' else object
            columns = one['columns']
            if columns is None:
                tensor = rows[0][one['name']]
                feeds[one['name']] = numpy.array(tensor['data'], dtype).reshape(tensor['shape'])
            else:
                values = [[row[column] for column in columns] for row in rows]
                feeds[one['name']] = numpy.array(values, dtype)
        return feeds

    def run(self, feeds):
        return self.session.run(self.outputs, feeds)[0]

    def results(self, rows):
        """What the node calls a result, for each of the rows."""
        scores = self.run(self.feeds(rows))
        if self.classes is None:
            data = {'datatype': 'float32', 'shape': scores.shape, 'data': scores.ravel().tolist()}
            return [{'outputs': {'scores': data}}]
        best = scores.argmax(axis=1).tolist()
        return [
            {'prediction': self.classes[top], 'probas': dict(zip(self.classes, values))}
            for top, values in zip(best, scores.tolist())
        ]
