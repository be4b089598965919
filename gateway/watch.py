"""Around every request: its id, its line in the log, its metrics, and the headers that every response has.

Plain ASGI outside of Starlette's own middleware, so that it also sees the answer to a fault of the gateway.
"""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.headers import REQUEST_ID_HEADER
from api.logs import EXTRA
from gateway import record
from gateway.answers import SECURITY_HEADERS
from gateway.metrics import GONE, Metrics, known_path, outcome

ACCESS_LOGGER = "mlbio.access"

logger = logging.getLogger(ACCESS_LOGGER)

LONGEST_PATH = 200
"""More of a path is not logged."""

DOCS_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


class Watch:
    """ASGI middleware.

    Args:
        app: what answers.
        metrics: where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        received = Headers(scope=scope)
        noted = record.begin(received.get(REQUEST_ID_HEADER, ""))
        status, size, complete = 0, 0, False

        async def watched(message: Message) -> None:
            nonlocal status, size, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in response_headers(scope["path"]).items():
                    headers.setdefault(name, value)
                headers[REQUEST_ID_HEADER] = noted.id
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)
            complete = complete or message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._app(scope, receive, watched)
        finally:
            # A stream's answer comes after its status.
            answered = noted.answer.status if noted.answer is not None else status
            ended = outcome(answered) if complete and answered else GONE
            seconds = time.monotonic() - started
            fields = {
                "id": noted.id,
                "method": scope["method"],
                "path": scope["path"][:LONGEST_PATH],
                "status": status,
                "seconds": round(seconds, 4),
                "bytes": size,
                "pool": noted.pool,
                "outcome": ended,
                "key": noted.key,
            }
            self._metrics.count(scope["method"], scope["path"], status, seconds, noted, ended)
            logger.info("request", extra={EXTRA: fields})


def response_headers(path: str) -> dict[str, str]:
    """Headers of a response for ``path``. The documentation page runs scripts of ours, and may be kept."""
    if path == "/docs":
        return SECURITY_HEADERS | {"content-security-policy": DOCS_POLICY}
    if path.startswith("/docs/"):
        return SECURITY_HEADERS | {"cache-control": "max-age=3600"}
    return SECURITY_HEADERS
