"""What the gate answers with, and the headers that every response has."""

import http.client
from collections.abc import Mapping

from websockets.datastructures import Headers
from websockets.http11 import Response

FIXED_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Sent with every response: no other page may frame it, nothing keeps or leaks it."""


def text_response(status: int, line: str, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a line of text."""
    plain = {"Content-Type": "text/plain; charset=utf-8", **(headers or {})}
    return response(status, f"{line}\n".encode(), plain)


def response(status: int, body: bytes, headers: Mapping[str, str]) -> Response:
    """Answer with a body; `headers` come before those of every response."""
    length = {"Content-Length": str(len(body))}
    reason = http.client.responses[status]
    return Response(status, reason, Headers({**headers, **length, **FIXED_HEADERS}), body)
