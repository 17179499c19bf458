"""Peer: FastAPI with uvicorn and a scikit-learn pickle, as most people would write it: a pydantic
model in, one row predicted, a dict out. No authentication, no metrics: what it lacks is its
advantage.

python bench/peers/fastapi_peer.py forest.pkl
"""

import json
import os
import pickle
import socket
import sys

import numpy
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

with open(sys.argv[1], 'rb') as file:
    model = pickle.load(file)
app = FastAPI()


class Query(BaseModel):
    features: dict[str, float]


@app.post('/public/api/v1/types/forest/predict')
async def predict(query: Query):
    # In the event loop: in the thread pool that a plain `def` gets, its rate is half of this.
    row = numpy.array([list(query.features.values())])
    probas = model.predict_proba(row)[0]
    labels = [str(label) for label in model.classes_]
    prediction = labels[int(probas.argmax())]
    return {'result': {'prediction': prediction, 'probas': dict(zip(labels, probas.tolist()))}}


# Bound here, so that the port is known before uvicorn says anything.
listener = socket.socket()
# uvicorn sets it on sockets of its own making only; without it answers wait for acknowledgements.
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
listener.bind(('127.0.0.1', 0))
listener.listen(1024)
url = f'http://127.0.0.1:{listener.getsockname()[1]}'
ready = {'event': 'ready', 'url': url, 'pid': os.getpid()}
print(json.dumps(ready, separators=(',', ':')), flush=True)
uvicorn.run(app, fd=listener.fileno(), log_level='error', access_log=False)
