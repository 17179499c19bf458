"""Peer: FastAPI with uvicorn and ONNX Runtime, as most people would write it: a pydantic model in, a
dict out, one process. No authentication, no metrics: what it lacks is its advantage.

python bench/peers/fastapi_onnx.py DESCRIPTION PORT
"""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from peer_model import Model

model = Model(sys.argv[1])
app = FastAPI()


class Tensor(BaseModel):
    shape: list[int]
    data: list[float]


tensors = any(one['columns'] is None for one in model.inputs)
texts = any(one['datatype'] == 'string' for one in model.inputs)
Value = float | str if texts else float


class Query(BaseModel):
    features: dict[str, Tensor] if tensors else dict[str, Value]


class Queries(BaseModel):
    items: list[Query]


def plain(query):
    return query.model_dump()['features'] if tensors else query.features


# In the event loop: in the thread pool that a plain `def` gets, small models are half as fast.
@app.post('/public/api/v1/bench/predict/predict')
async def predict(query: Query):
    return {'result': model.results([plain(query)])[0]}


@app.post('/public/api/v1/bench/predict/predict-multi')
async def predict_multi(queries: Queries):
    return {'results': model.results([query.features for query in queries.items])}


uvicorn.run(app, host='127.0.0.1', port=int(sys.argv[2]), log_level='error', access_log=False)
