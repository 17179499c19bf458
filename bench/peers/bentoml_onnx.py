"""Peer: BentoML with ONNX Runtime, one worker process. `bentoml serve` imports this file.

DESCRIPTION=… bentoml serve bentoml_onnx:Bench
"""

import os
from typing import Any

import bentoml

from peer_model import Model


@bentoml.service(workers=1, logging={'access': {'enabled': False}}, traffic={'timeout': 60})
class Bench:
    def __init__(self):
        self.model = Model(os.environ['DESCRIPTION'])

    # As coroutines: in the threads that a plain `def` gets, small models are a tenth as fast.
    @bentoml.api(route='/public/api/v1/bench/predict/predict')
    async def predict(self, features: dict[str, Any]) -> dict[str, Any]:
        return {'result': self.model.results([features])[0]}

    @bentoml.api(route='/public/api/v1/bench/predict/predict-multi')
    async def predict_multi(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        return {'results': self.model.results([item['features'] for item in items])}
