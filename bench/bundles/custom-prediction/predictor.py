"""A classifier of your own: the constructor loads the model, predict() scores many rows at once."""

import json
import math
from pathlib import Path


class LatePredictor:
    def __init__(self, data_folder):
        self.weights = json.loads((Path(data_folder) / 'weights.json').read_text())

    def predict(self, features):
        """features: one dict per row ("input" in the manifest); returns one dict per row."""
        return [self._score(row) for row in features]

    def _score(self, row):
        w = self.weights
        z = w['bias'] + w['kg'] * row['kg'] + w['km'] * row['km'] + w['express'] * row['express']
        late = 1 / (1 + math.exp(-z))
        return {
            'prediction': 'late' if late >= 0.5 else 'on time',
            'probas': {'late': late, 'on time': 1 - late},
        }
