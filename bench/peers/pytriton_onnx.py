"""Peer: Triton with ONNX Runtime in Python, by PyTriton, dynamic batching on as it is by default.

python bench/peers/pytriton_onnx.py DESCRIPTION PORT
"""

import sys

import numpy
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from peer_model import Model

model = Model(sys.argv[1])
port = int(sys.argv[2])


def tensor(one):
    # bytes is how Triton calls text.
    dtype = numpy.float32 if one['datatype'] == 'float32' else bytes
    shape = one['shape'] if one['columns'] is None else (len(one['columns']),)
    return Tensor(name=one['name'], dtype=dtype, shape=tuple(shape))


@batch
def infer(**feeds):
    for name, values in feeds.items():
        if values.dtype != numpy.float32:
            feeds[name] = numpy.char.decode(values.astype(bytes), 'utf-8').astype(object)
    return {model.outputs[0]: model.run(feeds)}


def infer_one(requests):
    """Without a first dimension that is free, requests come one by one."""
    return [{model.outputs[0]: model.run(dict(request))} for request in requests]


batched = model.classes is not None
width = 10 if model.classes is None else len(model.classes)
config = TritonConfig(
    http_address='127.0.0.1', http_port=port, allow_grpc=False, allow_metrics=False
)
with Triton(config=config) as triton:
    triton.bind(
        model_name='bench',
        infer_func=infer if batched else infer_one,
        inputs=[tensor(one) for one in model.inputs],
        outputs=[
            Tensor(
                name=model.outputs[0],
                dtype=numpy.float32,
                shape=(width,) if batched else (1, width),
            )
        ],
        config=ModelConfig(batching=batched, max_batch_size=1024),
    )
    triton.serve()
