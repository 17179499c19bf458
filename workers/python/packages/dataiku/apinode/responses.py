"""Custom errors and custom HTTP answers."""

from wsgiref.headers import Headers


class DkuCustomApiException(Exception):
    """The caller gets this status and this message."""

    def __init__(self, message, http_status_code=500):
        super().__init__(message)
        self.message = message
        self.http_status_code = http_status_code


class DkuCustomHttpResponse:
    """An HTTP answer without the node's envelope: status, body (text or bytes) and headers.

    `headers["Name"] = "value"` replaces, `add_header` adds a further one of the same name.
    """

    def __init__(self, status, body, headers=None):
        self.status = status
        self.body = body
        self.headers = Headers(list((headers or {}).items()))

    def add_header(self, name, value):
        self.headers.add_header(name, value)

    @staticmethod
    def create_text_response(text, content_type="text/plain; charset=utf-8"):
        return DkuCustomHttpResponse(200, text, {"Content-Type": content_type})

    @staticmethod
    def create_json_response(value, content_type="application/json"):
        # Late: this package is to be importable where the node's own is not.
        from _switchyard.encoding import encode

        return DkuCustomHttpResponse(200, encode(value), {"Content-Type": content_type})

    @staticmethod
    def create_binary_response(data, content_type="application/octet-stream"):
        return DkuCustomHttpResponse(200, data, {"Content-Type": content_type})
