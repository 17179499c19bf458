"""Makes what the benchmark of endpoint types serves: a trivial function, a scikit-learn forest and a
table of many rows, as one bundle; and the same forest as a pickle for the peer.

python bench/peers/types_bundle.py FOLDER ROWS
"""

import json
import pickle
import sys
import zipfile
from pathlib import Path

from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier

folder, rows = Path(sys.argv[1]), int(sys.argv[2])

PREDICTOR = '''
import pickle
from pathlib import Path


class Forest:
    def __init__(self, data_folder):
        self.model = pickle.loads((Path(data_folder) / 'forest.pkl').read_bytes())
        self.labels = [str(label) for label in self.model.classes_]

    def predict(self, features):
        probas = self.model.predict_proba(features)
        return [self.labels[i] for i in probas.argmax(axis=1)], probas
'''
FUNCTION = 'def double(x):\n    return 2 * x\n'

X, y = make_classification(n_samples=4000, n_features=10, n_informative=6, random_state=0)
forest = RandomForestClassifier(n_estimators=100, random_state=0, n_jobs=1).fit(X, y)
(folder / 'forest.pkl').write_bytes(pickle.dumps(forest))
with (folder / 'rows.csv').open('w') as table:
    table.write('id,name,score,visits,active\n')
    for i in range(rows):
        table.write(f'{i},customer {i},{i * 0.37 % 100:.2f},{i * 7919 % 1000},{i % 3 == 0}\n'.lower())

names = [f'f{i}' for i in range(10)]
features = dict(zip(names, X[0].round(4).tolist()))
manifest = {
    'formatVersion': 1,
    'authorization': 'API_KEYS',
    'tables': [{
        'name': 'customers',
        'file': 'rows.csv',
        'key': ['id'],
        'columns': {'id': 'integer', 'score': 'number', 'visits': 'integer', 'active': 'boolean'},
    }],
    'endpoints': [
        {'id': 'double', 'type': 'PYTHON_FUNCTION', 'file': 'function.py', 'function': 'double'},
        {
            'id': 'forest',
            'type': 'CUSTOM_PREDICTION',
            'file': 'predictor.py',
            'class': 'Forest',
            'prediction': 'BINARY_CLASSIFICATION',
            'classes': [str(label) for label in forest.classes_],
            'input': 'numpy',
            'features': [{'name': name, 'type': 'number'} for name in names],
            'testQueries': [
                {'q': {'features': dict(zip(names, row.round(4).tolist()))}} for row in X[:16]
            ],
        },
        {'id': 'customer', 'type': 'DATASET_LOOKUP', 'lookups': [{'table': 'customers'}]},
    ],
}
with zipfile.ZipFile(folder / 'v1.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('service.json', json.dumps(manifest))
    archive.writestr('function.py', FUNCTION)
    archive.writestr('predictor.py', PREDICTOR)
    archive.write(folder / 'forest.pkl', 'forest.pkl')
    archive.write(folder / 'rows.csv', 'rows.csv')
print(json.dumps({'features': features}))
