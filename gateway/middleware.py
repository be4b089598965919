"""The middleware around the application's endpoints.

:class:`RequestMiddleware` is outside of Starlette's own middleware, so that it also sees the answer to a fault of the
gateway.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.headers import ERROR_HEADER, REQUEST_ID_HEADER
from api.logs import EXTRA
from gateway import record
from gateway.keys import Keys, RequireKey
from gateway.metrics import GONE, Metrics, outcome
from gateway.responses import security_headers
from gateway.settings import Settings
from gateway.traces import instrument_app

ACCESS_LOGGER = "mlbio.access"

logger = logging.getLogger(ACCESS_LOGGER)

MAX_LOGGED_PATH = 200
"""Characters of a path that are logged."""

CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST"],
    "allow_headers": ["authorization", "content-type", "prefer", REQUEST_ID_HEADER],
    "expose_headers": ["retry-after", REQUEST_ID_HEADER, ERROR_HEADER],
}


class RequestMiddleware:
    """ASGI middleware that gives each request its id, log line, metrics and security headers.

    Args:
        app: the application.
        metrics: count the requests.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        request = record.begin(Headers(scope=scope).get(REQUEST_ID_HEADER, ""))
        status, size, complete = 0, 0, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, size, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in security_headers(scope["path"]).items():
                    headers.setdefault(name, value)
                headers[REQUEST_ID_HEADER] = request.id
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)
            complete = complete or message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            # A stream's answer comes after its status.
            final_status = request.answer.status if request.answer is not None else status
            result = outcome(final_status) if complete and final_status else GONE
            seconds = time.monotonic() - started
            fields = {
                "id": request.id,
                "method": scope["method"],
                "path": scope["path"][:MAX_LOGGED_PATH],
                "status": status,
                "seconds": round(seconds, 4),
                "bytes": size,
                "pool": request.pool,
                "outcome": result,
                "key": request.key,
            }
            self._metrics.count(scope["method"], scope["path"], status, seconds, request, result)
            logger.info("request", extra={EXTRA: fields})


class Gateway(Starlette):
    """Starlette within :class:`RequestMiddleware`."""

    def __init__(self, metrics: Metrics, **options: Any) -> None:
        super().__init__(**options)
        self._metrics = metrics

    def build_middleware_stack(self) -> ASGIApp:
        return RequestMiddleware(instrument_app(super().build_middleware_stack()), self._metrics)


def middleware(settings: Settings) -> list[Middleware]:
    """From outside to inside: CORS and API keys if the settings name them, and compression.

    Raises:
        gateway.keys.KeysError: the file of API keys cannot be used.
    """
    chain = []
    if origins := [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]:
        # A browser's preflight request has no key, so this comes before the keys.
        chain.append(Middleware(CORSMiddleware, allow_origins=origins, **CORS))
    if keys := Keys.load(settings):
        chain.append(Middleware(RequireKey, keys=keys))
    return [*chain, Middleware(GZipMiddleware, minimum_size=1000, compresslevel=1)]
