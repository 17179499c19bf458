"""Answers and errors of an endpoint's own choosing."""

from .responses import DkuCustomApiException, DkuCustomHttpResponse

__all__ = ["DkuCustomApiException", "DkuCustomHttpResponse"]
