"""Calls a node by clients that were generated from its own documents, unmodified.

python openapi_clients.py FOLDER QUERY_URL ADMIN_URL ADMIN_KEY

FOLDER holds the packages service_client and admin_client.
"""

import datetime
import json
import sys

folder, query_url, admin_url, admin_key = sys.argv[1:]
sys.path.insert(0, folder)

from admin_client import AuthenticatedClient
from admin_client.api.keys import create_auth_key
from admin_client.api.services import get_service, list_services
from admin_client.models import CreateAuthKeyRequest
from service_client import Client, models
from service_client.api.customer import lookup_customer
from service_client.api.late_std_prediction import (
    predict_late_std_prediction,
    predict_late_std_prediction_multi,
)
from service_client.api.orders import query_orders
from service_client.api.quote import run_quote

client = Client(base_url=f'{query_url}/public/api/v1/all')
heavy = models.LateStdPredictionFeatures(kg=12, km=900)
light = models.LateStdPredictionFeatures(kg=2, km=100, express=True)
predicted = predict_late_std_prediction.sync(
    client=client, body=models.LateStdPredictionRequest(features=heavy)
)
many = predict_late_std_prediction_multi.sync(
    client=client,
    body=models.LateStdPredictionMultiRequest(
        items=[models.LateStdPredictionItem(features=one) for one in (heavy, light)]
    ),
)
refused = predict_late_std_prediction.sync_detailed(
    client=client,
    body=models.LateStdPredictionRequest(features=models.LateStdPredictionFeatures('much', 1)),
)
ada = lookup_customer.sync(
    client=client, body=models.CustomerRecord(data=models.CustomerFields(id='ada'))
)
orders = query_orders.sync(
    client=client,
    body=models.OrdersParameters(customer='ada', since=datetime.date(2026, 9, 1)),
)
arguments = models.QuoteArguments(kg=2.5, km=310)

admin = AuthenticatedClient(base_url=admin_url, token=admin_key)
services = list_services.sync(client=admin)
service = get_service.sync('all', client=admin)
key = create_auth_key.sync(
    client=admin, body=CreateAuthKeyRequest(label='generated', allowed_services=['all'])
)
print(
    json.dumps(
        {
            'prediction': predicted.result.prediction,
            'late': predicted.result.probas.late,
            'generation': predicted.api_context.service_generation,
            'predictions': [one.prediction for one in many.results],
            'refused': [refused.status_code, refused.parsed.code, refused.parsed.detailed_message],
            'parcels': ada.results[0].data.parcels,
            'rows': orders.rows,
            'price': run_quote.sync(client=client, body=arguments).response['price'],
            'services': [one.service_id for one in services],
            'active': service.active_generation,
            'key': key.key[:3],
        }
    )
)
