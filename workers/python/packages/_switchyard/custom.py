"""What the code of an endpoint finds beside its own names, and how its exceptions are read."""

from wsgiref.headers import Headers

from dataiku.apinode import DkuCustomApiException
from dataiku.apinode.utils import _calls

METADATA = "dku_http_request_metadata"


class RequestMetadata:
    """Headers and path of the request that is being answered."""

    def __init__(self, headers, path):
        self.headers = Headers([(name, value) for name, value in headers])
        self.path = path


class NoMetadata:
    """In place of the metadata where the endpoint has not asked for them: says what to do."""

    def __getattr__(self, name):
        raise RuntimeError(
            '%s.%s: the endpoint needs "requestMetadata": true in service.json' % (METADATA, name)
        )


def given_names():
    return {"DkuCustomApiException": DkuCustomApiException, METADATA: NoMetadata()}


def set_request(module, header):
    """Before each call: the request's own metadata, or none; never those of the call before."""
    meta = header.get("meta")
    if meta is not None:
        metadata = RequestMetadata(meta["headers"], meta["path"])
        setattr(module, METADATA, metadata)
        _calls.authorization = metadata.headers.get("authorization")
    elif isinstance(getattr(module, METADATA, None), RequestMetadata):
        setattr(module, METADATA, NoMetadata())
        _calls.authorization = None


def find_status(error):
    """Status and message that the code has chosen for its caller; None for other exceptions."""
    if not isinstance(error, DkuCustomApiException):
        return None
    status = error.http_status_code
    if isinstance(status, bool) or not isinstance(status, int) or not 400 <= status <= 599:
        status = 500
    return status, str(error.message)
