"""Answers of the contract as HTTP responses."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from api.answer import Answer
from api.headers import STREAM_TYPE

RETRY_SECONDS = 5
"""What ``Retry-After`` says: a worker that died is back in about that time."""


SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
"""Browsers then neither guess types, nor show us in frames, nor run scripts, nor keep what is a patient's."""


def respond(answer: Answer, headers: Mapping[str, str] | None = None, stream: bool = False) -> Response:
    """An answer as an HTTP response; a streaming client gets it as a line."""
    headers = ({"retry-after": str(RETRY_SECONDS)} if answer.retry else {}) | dict(headers or {})
    if answer.status == 408:
        headers["connection"] = "close"  # the rest of the request is not wanted
    if stream:
        return Response(answer.body + b"\n", answer.status, headers, media_type=STREAM_TYPE)
    return Response(answer.body, answer.status, headers, media_type="application/json")
