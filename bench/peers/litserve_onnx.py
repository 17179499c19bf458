"""Peer: LitServe with ONNX Runtime, one worker process that takes up to 64 requests at a time.

python bench/peers/litserve_onnx.py DESCRIPTION PORT
"""

import json
import sys

import litserve

from peer_model import Model

BATCH_MAX = 64
BATCH_WAIT_S = 0.002


class Api(litserve.LitAPI):
    def setup(self, device):
        self.model = Model(sys.argv[1])

    def decode_request(self, request):
        return request

    def batch(self, requests):
        return requests

    def predict(self, requests):
        if isinstance(requests, dict):
            return self.answers([requests])[0]
        return self.answers(requests)

    def unbatch(self, answers):
        return answers

    def encode_response(self, answer):
        return answer

    def answers(self, requests):
        """One run for the rows of all requests."""
        parts = [request.get('items', [request]) for request in requests]
        results = self.model.results([one['features'] for part in parts for one in part])
        answers = []
        for request, part in zip(requests, parts):
            mine, results = results[: len(part)], results[len(part) :]
            answers.append({'results': mine} if 'items' in request else {'result': mine[0]})
        return answers


if __name__ == '__main__':
    is_table = json.loads(sys.argv[1])['classes'] is not None
    # Whole tensors cannot be put together row by row, so they run one by one.
    batching = {'max_batch_size': BATCH_MAX, 'batch_timeout': BATCH_WAIT_S} if is_table else {}
    server = litserve.LitServer(Api(**batching), accelerator='cpu', timeout=60)
    server.run(
        host='127.0.0.1',
        port=int(sys.argv[2]),
        log_level='error',
        access_log=False,
        generate_client_file=False,
    )
