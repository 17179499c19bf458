"""Peer: MLServer with a custom runtime for ONNX Runtime, which it has none of its own for.
`mlserver start` imports this file from the folder with its settings.
"""

import os

import numpy
from mlserver import MLModel, types
from mlserver.codecs import NumpyCodec, StringCodec

from peer_model import Model


class OnnxModel(MLModel):
    async def load(self):
        self.model = Model(os.environ['DESCRIPTION'])
        return True

    async def predict(self, payload):
        feeds = {}
        for one in payload.inputs:
            if one.datatype == 'BYTES':
                values = numpy.array(StringCodec.decode_input(one), object)
                feeds[one.name] = values.reshape(one.shape)
            else:
                feeds[one.name] = NumpyCodec.decode_input(one)
        scores = self.model.run(feeds)
        output = NumpyCodec.encode_output(self.model.outputs[0], scores)
        return types.InferenceResponse(model_name=self.name, outputs=[output])
