"""What it costs to send a parcel. Arguments are the keys of the request's body."""

import json
import math
from pathlib import Path

# Read once, when the process starts; the bundle's files are in the working folder.
RATES = json.loads(Path('rates.json').read_text())


def quote(kg, km, express=False):
    """Price of one parcel.

    kg and km come as texts when the function is called by GET, so they are converted here.
    """
    kg, km = float(kg), float(km)
    if not 0 < kg <= RATES['max_kg']:
        raise ValueError(f'kg must be more than 0 and at most {RATES["max_kg"]}, not {kg:g}')
    zone = next(z for z in RATES['zones'] if z['up_to_km'] is None or km <= z['up_to_km'])
    price = zone['base'] + zone['per_kg'] * math.ceil(kg)
    if express in (True, 'true', '1'):
        price *= RATES['express_factor']
    return {'price': round(price, 2), 'currency': RATES['currency'], 'zone': zone['name']}
