"""Asking other endpoints of the same service."""

import base64
import binascii
import json
import os
import ssl
from urllib import error, request
from urllib.parse import quote

URL_VARIABLE = "SWITCHYARD_URL"
KEY_VARIABLE = "SWITCHYARD_API_KEY"


class _Calls:
    """What the node knows of the service and of the request that is being answered."""

    service = None
    authorization = None


_calls = _Calls()


def get_self_client():
    """A client of the service that the calling endpoint belongs to.

    It asks the node at the address in the variable SWITCHYARD_URL, which the node sets and
    "variables" of the endpoint may set otherwise. Over TLS the certificate of the node is checked
    like any other: against the authorities of the system or of SSL_CERT_FILE. Its key is the variable
    SWITCHYARD_API_KEY of the endpoint where there is one, else the key of the request that is being
    answered, which the endpoint sees with "requestMetadata": true. The address never comes from a
    request: a caller could else have keys sent to wherever it likes.
    """
    url = os.environ.get(URL_VARIABLE)
    if not url:
        raise RuntimeError(
            "get_self_client() needs the address of the node in the variable %s" % URL_VARIABLE
        )
    key, token = _credentials()
    try:
        from dataikuapi import APINodeClient as Client
    except ImportError:
        Client = APINodeClient
    return Client(url, _calls.service, api_key=key, bearer_token=token)


def _credentials():
    key = os.environ.get(KEY_VARIABLE)
    if key:
        return key, None
    scheme, _, value = (_calls.authorization or "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return None, value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value).decode("utf-8").partition(":")[0], None
        except (binascii.Error, ValueError):
            return None, None
    return None, None


class ApiNodeError(Exception):
    """The node refused; `status` is that of its answer, None where there was none."""

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


class APINodeClient:
    """The calls of the node's query API, for code that runs without the `dataikuapi` package."""

    def __init__(self, uri, service_id, api_key=None, bearer_token=None):
        self._base = "%s/public/api/v1/%s/" % (uri.rstrip("/"), quote(service_id, safe=""))
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            basic = base64.b64encode(("%s:" % api_key).encode("utf-8")).decode("ascii")
            self._headers["Authorization"] = "Basic " + basic
        elif bearer_token:
            self._headers["Authorization"] = "Bearer " + bearer_token

    def predict_record(
        self, endpoint_id, features, forced_generation=None, dispatch_key=None, context=None
    ):
        body = {"features": features, **_dispatch(forced_generation, dispatch_key)}
        if context is not None:
            body["context"] = context
        return self._post(endpoint_id, "predict", body)

    def predict_records(self, endpoint_id, records, forced_generation=None, dispatch_key=None):
        body = {"items": list(records), **_dispatch(forced_generation, dispatch_key)}
        return self._post(endpoint_id, "predict-multi", body)

    def run_function(self, endpoint_id, **kwargs):
        return self._post(endpoint_id, "run", kwargs)

    def sql_query(self, endpoint_id, parameters):
        return self._post(endpoint_id, "query", parameters)

    def lookup_record(self, endpoint_id, record, context=None):
        body = {"data": record}
        if context is not None:
            body["context"] = context
        return self._post(endpoint_id, "lookup", body)["results"][0]

    def lookup_records(self, endpoint_id, records):
        return self._post(endpoint_id, "lookup-multi", {"items": list(records)})

    def _post(self, endpoint_id, verb, body):
        url = "%s%s/%s" % (self._base, quote(endpoint_id, safe=""), verb)
        data = json.dumps(body).encode("utf-8")
        try:
            with request.urlopen(request.Request(url, data, self._headers)) as reply:
                return json.loads(reply.read().decode("utf-8"))
        except error.HTTPError as refused:
            text = refused.read().decode("utf-8", "replace")
            raise ApiNodeError(_message(text), refused.code)
        except error.URLError as failed:
            if isinstance(failed.reason, ssl.SSLError):
                raise ApiNodeError(_untrusted(url, failed.reason), None)
            raise


def _untrusted(url, reason):
    host = url.split("/")[2]
    return (
        "the certificate of %s is not trusted (%s): name its authority with SSL_CERT_FILE in "
        '"variables" of the endpoint, and with SWITCHYARD_URL an address that is in it'
        % (host, getattr(reason, "verify_message", "") or reason)
    )


def _dispatch(forced_generation, dispatch_key):
    if forced_generation is not None:
        return {"dispatch": {"forcedGeneration": forced_generation}}
    if dispatch_key is not None:
        return {"dispatch": {"dispatchKey": dispatch_key}}
    return {}


def _message(text):
    try:
        told = json.loads(text)
        return str(told.get("detailedMessage") or told.get("message"))
    except (ValueError, AttributeError):
        return text[:500]
