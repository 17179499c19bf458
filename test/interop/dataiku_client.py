"""Asks a node with the unmodified Python client of Dataiku's API node, and prints what it returns.

python dataiku_client.py URL SERVICE [KEY]
"""

import json
import sys

import dataikuapi

url, service, *key = sys.argv[1:]
client = dataikuapi.APINodeClient(url, service, *key)


def refused(call):
    """What the client says where the node refuses."""
    try:
        return {'returned': call()}
    except Exception as error:  # The client has no class of its own to name here.
        return {'raised': type(error).__name__, 'text': str(error)}


parcel = {'kg': 12, 'km': 900, 'express': False}
light = {'kg': 2, 'km': 100, 'express': True}
answers = {
    'version': getattr(dataikuapi, '__version__', ''),
    'run_function': client.run_function('quote', kg=2.5, km=310),
    'run_without_arguments': refused(lambda: client.run_function('quote')),
    'run_wrong_argument': refused(lambda: client.run_function('quote', kg=1, km=2, colour='red')),
    'run_raises': refused(lambda: client.run_function('quote', kg=99, km=2)),
    'run_r': client.run_function('arrival', sent='2026-11-27', days=2),
    'sql_query': client.sql_query('orders', {'customer': 'ada', 'since': '2026-09-01'}),
    'sql_without_parameters': refused(lambda: client.sql_query('orders', {})),
    'lookup_record': client.lookup_record('customer', {'id': 'ada'}),
    'lookup_records': client.lookup_records(
        'depot',
        [{'data': {'region': 'west', 'size': 'small'}}, {'data': {'region': 'south', 'size': 'large'}}],
    ),
    'lookup_missing': refused(lambda: client.lookup_record('customer', {'id': 'nobody'})),
    'predict_record': client.predict_record('late-std-prediction', parcel),
    'predict_records': client.predict_records(
        'late-std-prediction', [{'features': parcel}, {'features': light}]
    ),
    'predict_python': client.predict_record('late-custom-prediction', parcel),
    'predict_python_records': client.predict_records(
        'late-custom-prediction', [{'features': parcel}, {'features': light}]
    ),
    'predict_r': client.predict_record('hours', {'km': 300, 'kg': 4, 'carrier': 'north'}),
    'predict_enriched': client.predict_record(
        'late-enriched-prediction', {'kg': 12, 'destination': 'south'}
    ),
    'predict_forced': client.predict_record(
        'late-std-prediction', parcel, forced_generation='v2', context={'screen': 'checkout'}
    ),
    'predict_forced_records': client.predict_records(
        'late-std-prediction',
        [{'features': parcel, 'context': {'n': 1}}, {'features': light}],
        forced_generation='v2',
    ),
    'predict_unknown_generation': refused(
        lambda: client.predict_record('late-std-prediction', parcel, forced_generation='v9')
    ),
    'predict_keys': [
        client.predict_record('late-std-prediction', parcel, dispatch_key='customer 7')
        for _ in range(5)
    ],
    'predict_unexplained': refused(
        lambda: client.predict_record(
            'late-std-prediction', parcel, with_explanations=True, explanation_method='ICE'
        )
    ),
    'predict_not_explained': client.predict_record(
        'late-std-prediction', parcel, with_explanations=False
    ),
    'forecast': refused(
        lambda: client.forecast('late-std-prediction', [{'date': '2015-01-04', 'target': 1.0}])
    ),
    'predict_effect': refused(lambda: client.predict_effect('late-std-prediction', parcel)),
    'predict_effects': refused(
        lambda: client.predict_effects('late-std-prediction', [{'features': parcel}])
    ),
    'predict_nan': client.predict_record(
        'late-std-prediction', {'kg': 12, 'km': 900, 'express': float('nan')}
    ),
}
print(json.dumps(answers))
