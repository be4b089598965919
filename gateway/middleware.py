"""The outermost middleware: a request's id, log line, metrics and security headers."""

from __future__ import annotations

import logging
import re
import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.answer import ExplanationFigures
from api.headers import REQUEST_ID_HEADER
from api.logs import EXTRA
from gateway.metrics import GONE, Metrics, outcome
from gateway.responses import security_headers

if TYPE_CHECKING:
    from gateway.keys import Key

ACCESS_LOGGER = "mlbio.access"

logger = logging.getLogger(ACCESS_LOGGER)

MAX_LOGGED_PATH = 200
"""Characters of a path that are logged."""

_PLAIN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass
class Record:
    """What is recorded about a request while it is answered, for its log line, metrics and the engine's logs.

    Attributes:
        id: sent to the engine and back to the client in ``X-Request-ID``.
        pool: of workers that it is for; empty if the request was refused before.
        key: its API key.
        status: of the answer, which a stream's response cannot have; 0 before.
        explanation: its figures.
    """

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    pool: str = ""
    key: Key | None = None
    status: int = 0
    explanation: ExplanationFigures | None = None


_current: ContextVar[Record] = ContextVar("record")


def current() -> Record:
    """The record of the request that is being answered; a new one outside of requests."""
    return _current.get(None) or Record()


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
        wanted_id = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        record = Record(wanted_id) if _PLAIN_ID.fullmatch(wanted_id) else Record()
        _current.set(record)
        status, size, complete = 0, 0, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, size, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in security_headers(scope["path"]).items():
                    headers.setdefault(name, value)
                headers[REQUEST_ID_HEADER] = record.id
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)
            complete = complete or message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            final_status = record.status or status
            result = outcome(final_status) if complete and final_status else GONE
            seconds = time.monotonic() - started
            fields = {
                "id": record.id,
                "method": scope["method"],
                "path": scope["path"][:MAX_LOGGED_PATH],
                "status": status,
                "seconds": round(seconds, 4),
                "bytes": size,
                "pool": record.pool,
                "outcome": result,
                "key": record.key.name if record.key else "",
            }
            if record.explanation is not None:
                fields |= {"samples": record.explanation.samples, "explanation_seconds": record.explanation.seconds}
            self._metrics.count_request(scope["method"], scope["path"], status)
            if (
                scope["method"] in ("POST", "PUT") and scope["path"] == "/predict"
            ):  # and not a browser's preflight request
                self._metrics.count_prediction(record.pool, result, seconds, record.explanation)
            logger.info("request", extra={EXTRA: fields})
