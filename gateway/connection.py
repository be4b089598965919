"""HTTP connections: slow-client limits, which uvicorn does not have, and refusals in the documented form."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.answer import refuse
from gateway.admission import Addresses
from gateway.responses import SECURITY_HEADERS, answer_headers, respond

HEAD_SECONDS = 20.0
"""Seconds from the connection, or from the previous response, until the next request's headers are complete; after a
refusal also until the rest of its body is."""

STALL_SECONDS, STALL_BYTES = 20.0, 64 * 1024
"""A client has to read this many bytes of a response in this many seconds, or what is left of it."""

CHECK_SECONDS = 0.5

LINGER_SECONDS = 1.0
"""How long the rest of a refused request is discarded: resetting the connection would lose the answer."""

MAX_CONNECTIONS = 512
"""Half of the 1,024 files that a process may usually open, as each may need a second connection, to the engine."""

_INVALID_HTTP = {
    400: "the request is not valid HTTP: see that its first line, headers, length and chunks are right",
    431: "the headers of the request are too long: send fewer or shorter ones",
    501: "the request has a transfer encoding that is not known: send it plain or in chunks",
}


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection, closed when its client is too slow.

    uvicorn's own keep-alive limit restarts with every byte that arrives.

    Args:
        addresses: limit the connections from each.
        refusals: ASGI applications by status, which answer when there are too many connections: 429 from one address,
            503 from all.
    """

    def __init__(self, *arguments: Any, addresses: Addresses, refusals: Mapping[int, ASGIApp], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._addresses, self._refusals = addresses, refusals
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._group = self._addresses.group(self.client[0]) if self.client else ""
        same = [each for each in self.connections if isinstance(each, Connection) and each._group == self._group]
        if len(self.connections) > MAX_CONNECTIONS:
            self.app = self._refusals[503]
        elif self._group and len(same) > self._addresses.requests:
            self.app = self._refusals[429]
        self._waiting_since = self._unread_since = self.loop.time()
        self._unread = 0
        self._check_client()

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)

    def on_response_complete(self) -> None:
        self._waiting_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread, self._unread_since = self.transport.get_write_buffer_size(), self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _check_client(self) -> None:
        """Close the connection if its client is too slow; called every :data:`CHECK_SECONDS`."""
        now, unread = self.loop.time(), self.transport.get_write_buffer_size()
        if unread <= max(0, self._unread - STALL_BYTES):
            self._unread, self._unread_since = unread, now
        if unread or (self.cycle is not None and not self.cycle.response_complete):
            self._waiting_since = now
        self._timer = self.loop.call_later(CHECK_SECONDS, self._check_client)
        if now - self._waiting_since > HEAD_SECONDS or now - self._unread_since > STALL_SECONDS:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that h11 could not parse, with our JSON instead of plain text, and close the connection."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()  # another response is under way
            return
        self._refused = True
        status = getattr(sys.exception(), "error_status_hint", 400)
        answer = refuse(status if status in _INVALID_HTTP else 400, _INVALID_HTTP.get(status, _INVALID_HTTP[400]))
        headers = SECURITY_HEADERS | answer_headers(answer)
        headers |= {"content-type": "application/json", "connection": "close"}
        reason = HTTPStatus(answer.status).phrase.encode()
        response = h11.Response(status_code=answer.status, headers=list(headers.items()), reason=reason)
        for event in (response, h11.Data(data=answer.body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)


async def refuse_connection(scope: Scope, receive: Receive, send: Send, status: int = 503) -> None:
    """An ASGI application that refuses every request, and closes the connection."""
    whose = " from your address" if status == 429 else ""
    answer = refuse(status, f"too many connections{whose} at once: try again in a moment")
    await respond(answer, SECURITY_HEADERS | {"connection": "close"})(scope, receive, send)
