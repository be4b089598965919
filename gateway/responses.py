"""Answers of the contract as HTTP responses, and the page that shows the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from api.answer import Answer
from api.headers import ERROR_HEADER, STREAM_TYPE

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
"""So that browsers do not guess types, show us in frames, run scripts, or cache patients' data."""

DOCS_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>MLBIO</title>
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
<link rel="icon" href="docs/assets/favicon-32x32.png">
</head>
<body>
<div id="swagger"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger", validatorUrl: null})</script>
</body>
</html>
"""
"""Swagger UI, whose files the gateway serves, so that no other host is contacted. Addresses are relative, as a
proxy may add a prefix to the path."""


def respond(answer: Answer, headers: Mapping[str, str] | None = None, stream: bool = False) -> Response:
    """An answer as an HTTP response; a streaming client gets it as a line."""
    headers = answer_headers(answer) | dict(headers or {})
    if stream:
        return Response(answer.line(), answer.status, headers, media_type=STREAM_TYPE)
    return Response(answer.body, answer.status, headers, media_type="application/json")


def answer_headers(answer: Answer) -> dict[str, str]:
    """Headers of a response with ``answer``."""
    headers = {}
    if answer.code is not None:
        headers[ERROR_HEADER] = answer.code.value
    if answer.retry_after is not None:
        headers["retry-after"] = str(answer.retry_after)
    if answer.status == 408:
        headers["connection"] = "close"  # the rest of the request is not wanted
    return headers


def security_headers(path: str) -> dict[str, str]:
    """Headers of every response for ``path``. The documentation page runs our scripts, and may be cached."""
    if path == "/docs":
        return SECURITY_HEADERS | {"content-security-policy": DOCS_POLICY}
    if path.startswith("/docs/"):
        return SECURITY_HEADERS | {"cache-control": "max-age=3600"}
    return SECURITY_HEADERS
