"""Makes the demo bundles beside this file and the bench model in ../models.

Every data set is one that scikit-learn carries itself, so nothing is downloaded. All seeds and ZIP
timestamps are fixed: the same versions of the libraries (requirements.txt) give the same bytes, so
a bundle in the repository can be checked by making it again. The expected answers of the test
queries come from scikit-learn; before a bundle is written, ONNX Runtime must give the same.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make_demo.py
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent / 'models'
OPSETS = {'': 15, 'ai.onnx.ml': 3}
TOLERANCE = 1e-4
SIZE_MAX = 300_000


def plain(value):
    """What JSON holds; a number as the shortest text that means the same float32: 3.06."""
    if isinstance(value, (float, np.floating)):
        return float(str(np.float32(value)))
    return value.item() if isinstance(value, np.generic) else value


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + '\n')


def write_bundle(path, manifest, model):
    """A ZIP that depends on its content only: fixed order, timestamps and attributes."""
    files = {'service.json': (json.dumps(manifest, indent=2) + '\n').encode(), 'model.onnx': model}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content, compresslevel=9)
    size = path.stat().st_size
    assert size < SIZE_MAX, f'{path.name} has {size} bytes'
    print(f'{path.name}: {size} bytes')


def probas_of(probabilities, classes):
    """Probabilities of one row by class, as the node answers them."""
    return {name: float(p) for name, p in zip(classes, probabilities, strict=True)}


def check_same(model, feeds, expected):
    """ONNX Runtime must say what scikit-learn said, row by row; `expected` holds numbers."""
    session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
    outputs = session.run(None, feeds)
    scores = outputs[-1]
    if isinstance(scores, list):  # ZipMap: one dictionary a row
        scores = np.array([list(row.values()) for row in scores])
    worst = np.abs(np.asarray(scores, dtype=np.float64).reshape(expected.shape) - expected).max()
    assert worst < TOLERANCE, f'ONNX Runtime differs from scikit-learn by {worst}'


def manifest_of(service, generation, description, endpoint, authorization='API_KEYS'):
    return {
        'formatVersion': 1,
        'serviceId': service,
        'generationId': generation,
        'description': description,
        'authorization': authorization,
        'endpoints': [{'id': 'predict', 'type': 'STD_PREDICTION', 'model': 'model.onnx', **endpoint}],
    }


def rows_to_try(target):
    """The first and a later row of every class, so that each class is expected once at least."""
    wanted = []
    for value in np.unique(target):
        indexes = np.flatnonzero(target == value)
        wanted += [int(indexes[0]), int(indexes[len(indexes) // 2])]
    return wanted


def feature_maps(frame, indexes):
    return [{name: plain(v) for name, v in frame.iloc[i].items()} for i in indexes]


def class_queries(frame, indexes, estimator, classes):
    """Test queries of a classifier: features of real rows, expected label and probabilities."""
    queries = []
    probabilities = estimator.predict_proba(frame.iloc[indexes])
    for index, features, row in zip(indexes, feature_maps(frame, indexes), probabilities):
        label = classes[int(row.argmax())]
        expect = {'prediction': label, 'probas': probas_of(row, classes)}
        queries.append({'name': f'row {index}', 'q': {'features': features}, 'expect': expect})
    return queries


def features_of(frame):
    return [{'name': name, 'type': 'number'} for name in frame.columns]


def as_tensor(frame):
    return frame.to_numpy(dtype=np.float32)


def tensor_model(estimator, frame, zipmap):
    """An ONNX model with one float tensor of all columns as its input."""
    options = {id(estimator): {'zipmap': zipmap}} if zipmap is not None else None
    shape = [('input', FloatTensorType([None, frame.shape[1]]))]
    return convert(estimator, shape, options)


def convert(estimator, types, options):
    """The converter orders the operator sets by chance; sorted, the bytes are always the same."""
    model = to_onnx(
        estimator, initial_types=types, target_opset=OPSETS, options=options, name='model'
    )
    sets = sorted(((entry.domain, entry.version) for entry in model.opset_import))
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in sets)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def float_rows(frame):
    """Rows as the model will see them: float32 and back, so that both sides round alike."""
    return frame.astype(np.float32).astype(np.float64)


def make_cancer():
    """Binary, 30 features in one tensor, scaler and network; labels are numbers in the model."""
    data = load_breast_cancer(as_frame=True)
    frame, target = float_rows(data.data), data.target.to_numpy()
    network = MLPClassifier((16,), alpha=1e-2, max_iter=400, random_state=0)
    estimator = make_pipeline(StandardScaler(), network).fit(frame.to_numpy(), target)
    classes = [str(name) for name in data.target_names]
    model = tensor_model(estimator, frame, zipmap=False)
    values = ArrayEstimator(estimator)
    check_same(model, {'input': as_tensor(frame)}, values.predict_proba(frame))
    indexes = rows_to_try(target)
    endpoint = {
        'prediction': 'BINARY_CLASSIFICATION',
        'classes': classes,
        'features': features_of(frame),
        'testQueries': class_queries(frame, indexes, values, classes),
    }
    description = 'Breast cancer (Wisconsin), 569 rows of scikit-learn: malignant or benign.'
    manifest = manifest_of('cancer', 'v1', description, endpoint, 'PUBLIC')
    write_bundle(HERE / 'cancer-v1.zip', manifest, model)
    body = {'features': feature_maps(frame, indexes[:1])[0]}
    demo = {'service': 'cancer', 'generation': 'v1', 'bundle': 'cancer-v1.zip'}
    write_json(HERE / 'demo.json', {**demo, 'endpoint': 'predict', 'body': body})


class ArrayEstimator:
    """Calls an estimator that was trained on arrays with frames, without a warning per call."""

    def __init__(self, estimator):
        self.estimator = estimator

    def predict_proba(self, frame):
        return self.estimator.predict_proba(frame.to_numpy())

    def predict(self, frame):
        return self.estimator.predict(frame.to_numpy())


def make_wine():
    """Multiclass forest as skl2onnx writes it by default: string labels and ZipMap left on."""
    data = load_wine(as_frame=True)
    frame = float_rows(data.data)
    names = [str(name) for name in data.target_names]
    target = np.array(names)[data.target.to_numpy()]
    forest = RandomForestClassifier(20, max_depth=6, random_state=0).fit(frame.to_numpy(), target)
    classes = [str(name) for name in forest.classes_]
    model = tensor_model(forest, frame, zipmap=None)
    assert b'ZipMap' in model
    values = ArrayEstimator(forest)
    check_same(model, {'input': as_tensor(frame)}, values.predict_proba(frame))
    endpoint = {
        'prediction': 'MULTICLASS',
        'features': features_of(frame),
        'testQueries': class_queries(frame, rows_to_try(target), values, classes),
    }
    description = 'Wine cultivars, 178 rows of scikit-learn; random forest, ZipMap left on.'
    write_bundle(HERE / 'wine-v1.zip', manifest_of('wine', 'v1', description, endpoint), model)


def make_diabetes():
    """Regressor; the model's own output shape [N, 1] is what sklearn pipelines export."""
    data = load_diabetes(as_frame=True, scaled=False)
    frame, target = float_rows(data.data), data.target.to_numpy()
    regressor = GradientBoostingRegressor(n_estimators=40, max_depth=3, random_state=0)
    regressor.fit(frame.to_numpy(), target)
    model = tensor_model(regressor, frame, zipmap=None)
    values = ArrayEstimator(regressor)
    check_same(model, {'input': as_tensor(frame)}, values.predict(frame))
    indexes = [0, 100, 200, 300]
    queries = [
        {'name': f'row {i}', 'q': {'features': f}, 'expect': {'prediction': float(value)}}
        for i, f, value in zip(
            indexes, feature_maps(frame, indexes), values.predict(frame.iloc[indexes])
        )
    ]
    endpoint = {
        'prediction': 'REGRESSION',
        'features': features_of(frame),
        'testQueries': queries,
    }
    description = 'Disease progression after a year, 442 rows of scikit-learn (diabetes).'
    manifest = manifest_of('diabetes', 'v1', description, endpoint)
    write_bundle(HERE / 'diabetes-v1.zip', manifest, model)


def make_iris():
    """Two generations whose labels differ, so that every answer says which one gave it."""
    data = load_iris(as_frame=True)
    frame, target = float_rows(data.data), data.target.to_numpy()
    for generation, strength in (('v1', 1.0), ('v2', 0.1)):
        logistic = LogisticRegression(C=strength, max_iter=1000).fit(frame.to_numpy(), target)
        classes = [f'{generation}:{name}' for name in data.target_names]
        model = tensor_model(logistic, frame, zipmap=False)
        values = ArrayEstimator(logistic)
        check_same(model, {'input': as_tensor(frame)}, values.predict_proba(frame))
        endpoint = {
            'prediction': 'MULTICLASS',
            'classes': classes,
            'features': features_of(frame),
            'testQueries': class_queries(frame, rows_to_try(target), values, classes),
        }
        description = f'Iris species, 150 rows of scikit-learn; labels begin with {generation}.'
        manifest = manifest_of('iris', generation, description, endpoint)
        write_bundle(HERE / f'iris-{generation}.zip', manifest, model)


def cellar_frame(data):
    """Wine measurements with two text columns that are computed, not measured.

    scikit-learn carries no small data set with text columns. So `colour` and `body` are made here
    by cutting two measured columns into bins; magnesium is whole numbers in the original.
    """
    source = data.data
    colours = pd.cut(source['color_intensity'], [0, 3.5, 6, 99], labels=['pale', 'medium', 'deep'])
    bodies = pd.cut(source['alcohol'], [0, 12.5, 13.3, 99], labels=['light', 'middle', 'full'])
    return pd.DataFrame(
        {
            'flavanoids': source['flavanoids'].astype(np.float32).astype(np.float64),
            'proline': source['proline'],
            'magnesium': source['magnesium'].astype(np.int64),
            'colour': colours.astype(str),
            'body': bodies.astype(str),
        }
    )


CELLAR_TYPES = [
    ('flavanoids', FloatTensorType([None, 1])),
    ('proline', FloatTensorType([None, 1])),
    ('magnesium', Int64TensorType([None, 1])),
    ('colour', StringTensorType([None, 1])),
    ('body', StringTensorType([None, 1])),
]


def cellar_features(frame):
    """One rule of each kind: error, imputed number, imputed text, ignored row."""
    colours = {'categories': ['pale', 'medium', 'deep'], 'onUnknown': 'IGNORE'}
    bodies = {'categories': ['light', 'middle', 'full'], 'onUnknown': 'IMPUTE'}
    return [
        {'name': 'flavanoids', 'type': 'number', 'onMissing': 'IGNORE'},
        {
            'name': 'proline',
            'type': 'number',
            'onMissing': 'IMPUTE',
            'onInvalid': 'IMPUTE',
            'value': float(frame['proline'].median()),
        },
        {'name': 'magnesium', 'type': 'integer'},
        {'name': 'colour', 'type': 'string', **colours},
        {'name': 'body', 'type': 'string', 'onMissing': 'IMPUTE', **bodies, 'value': 'middle'},
    ]


def cellar_rule_queries(frame, estimator, classes):
    """What the rules make of a row with a gap: imputed as declared, or ignored."""
    (full,) = feature_maps(frame, [0])
    gaps = {name: value for name, value in full.items() if name not in ('proline', 'body')}
    filled = {**full, 'proline': float(frame['proline'].median()), 'body': 'middle'}
    probabilities = estimator.predict_proba(pd.DataFrame([filled]))[0]
    imputed = {
        'prediction': classes[int(probabilities.argmax())],
        'probas': probas_of(probabilities, classes),
        'ignored': False,
    }
    return [
        {'name': 'imputed', 'q': {'features': gaps}, 'expect': imputed},
        {
            'name': 'unknown colour',
            'q': {'features': {**full, 'colour': 'green'}},
            'expect': {'ignored': True},
        },
    ]


def make_cellar():
    """A pipeline with one input per column: float, int64 and string, scaled and one-hot encoded."""
    data = load_wine(as_frame=True)
    frame = cellar_frame(data)
    target = np.array(['first', 'second', 'third'])[data.target.to_numpy()]
    columns = ColumnTransformer(
        [
            ('scaled', StandardScaler(), ['flavanoids', 'proline', 'magnesium']),
            ('encoded', OneHotEncoder(handle_unknown='ignore'), ['colour', 'body']),
        ]
    )
    estimator = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(frame, target)
    classes = [str(name) for name in estimator.classes_]
    model = convert(estimator, CELLAR_TYPES, {id(estimator): {'zipmap': False}})
    feeds = {name: frame[[name]].to_numpy() for name in frame.columns}
    for name in ('flavanoids', 'proline'):
        feeds[name] = feeds[name].astype(np.float32)
    for name in ('colour', 'body'):
        feeds[name] = feeds[name].astype(object)
    check_same(model, feeds, estimator.predict_proba(frame))
    queries = class_queries(frame, rows_to_try(target), estimator, classes)
    endpoint = {
        'prediction': 'MULTICLASS',
        'features': cellar_features(frame),
        'testQueries': queries + cellar_rule_queries(frame, estimator, classes),
    }
    description = (
        'Wine cultivar from three measured columns of scikit-learn and two text columns that '
        'were made by binning; one named input per column.'
    )
    write_bundle(HERE / 'cellar-v1.zip', manifest_of('cellar', 'v1', description, endpoint), model)


def bench_graph():
    """10 -> 64 -> 64 -> 2 with label and probabilities: the small model of the benchmark."""
    random = np.random.default_rng(0)
    sizes = [10, 64, 64, 2]
    nodes, weights, last = [], [], 'input'
    for i, (rows, columns) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        values = random.standard_normal((rows, columns)) / np.sqrt(rows)
        weights.append(numpy_helper.from_array(values.astype(np.float32), f'weights{i}'))
        nodes.append(helper.make_node('MatMul', [last, f'weights{i}'], [f'sum{i}']))
        last = f'sum{i}'
        if i < len(sizes) - 2:
            nodes.append(helper.make_node('Relu', [last], [f'active{i}']))
            last = f'active{i}'
    nodes.append(helper.make_node('Softmax', [last], ['probas'], axis=1))
    nodes.append(helper.make_node('ArgMax', ['probas'], ['label'], axis=1, keepdims=0))
    inputs = [helper.make_tensor_value_info('input', TensorProto.FLOAT, ['N', 10])]
    outputs = [
        helper.make_tensor_value_info('label', TensorProto.INT64, ['N']),
        helper.make_tensor_value_info('probas', TensorProto.FLOAT, ['N', 2]),
    ]
    graph = helper.make_graph(nodes, 'small', inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 15)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


BENCH_ROW = [0.12, 1.3, -0.4, 2.2, 0.5, 0.61, -1.7, 0.8, 0.09, 1.01]


def make_bench():
    """Two generations of one model file; labels tell them apart, v1's are what peers answer."""
    model = bench_graph()
    MODELS.mkdir(exist_ok=True)
    (MODELS / 'small.onnx').write_bytes(model)
    features = [{'name': f'f{i}', 'type': 'number'} for i in range(10)]
    body = {'features': {f'f{i}': value for i, value in enumerate(BENCH_ROW)}}
    session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
    _, probabilities = session.run(None, {'input': np.array([BENCH_ROW], dtype=np.float32)})
    for generation, classes in (('v1', ['0', '1']), ('v2', ['v2:0', 'v2:1'])):
        label = classes[int(probabilities[0].argmax())]
        expect = {'prediction': label, 'probas': probas_of(probabilities[0], classes)}
        endpoint = {
            'prediction': 'BINARY_CLASSIFICATION',
            'classes': classes,
            'features': features,
            'testQueries': [{'name': 'row', 'q': body, 'expect': expect}],
        }
        description = 'The small model of the benchmark: 10 features, two hidden layers.'
        manifest = manifest_of('bench', generation, description, endpoint)
        write_bundle(MODELS / f'small-{generation}.zip', manifest, model)
    write_json(MODELS / 'small.json', {'service': 'bench', 'endpoint': 'predict', 'body': body})


def main():
    make_cancer()
    make_wine()
    make_cellar()
    make_diabetes()
    make_iris()
    make_bench()


if __name__ == '__main__':
    main()
