"""Connections whose clients take their time: time limits that uvicorn does not have, and a limit of their number."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send

from api.answer import refuse
from gateway.answers import SECURITY_HEADERS, respond
from gateway.protocol import Protocol

HEAD_SECONDS = 20.0
"""Seconds from the connection, or from the answer before, until the next request's headers are complete. After a
refusal they are also what remains for the rest of the body."""

STALL_SECONDS, STALL_BYTES = 20.0, 64 * 1024
"""A client that is sent an answer has to read so many bytes in so many seconds, or the rest of it."""

MAX_CONNECTIONS = 512
"""Below the 1,024 files that a process may usually open: each may need another connection, to TorchServe."""


class Connection(Protocol):
    """uvicorn's HTTP/1.1 connection, cut when its client is too slow.

    uvicorn's own keep-alive limit counts only while nothing arrives at all, so a byte now and then outwits it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self.app = refuse_connection
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._stop_expecting_if_busy()

    def on_response_complete(self) -> None:
        self._expect_request()
        super().on_response_complete()
        self._stop_expecting_if_busy()  # the next request was there already

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        # Little is left, but the connection cannot be closed before it has been read.
        if self._stall_timer is not None and not self.transport.get_write_buffer_size():
            self._stall_timer = _cancel(self._stall_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer, self._stall_timer = _cancel(self._head_timer), _cancel(self._stall_timer)
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        _cancel(self._head_timer)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._no_request_came)

    def _stop_expecting_if_busy(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_timer = _cancel(self._head_timer)

    def _no_request_came(self) -> None:
        if unread := self.transport.get_write_buffer_size():  # the answer before is still being read
            self._expect_request()
            if self._stall_timer is None:
                self._watch_reader(unread)
        else:
            self.transport.abort()

    def _watch_reader(self, unread: int) -> None:
        _cancel(self._stall_timer)
        self._stall_timer = self.loop.call_later(STALL_SECONDS, self._check_reader, unread)

    def _check_reader(self, unread_before: int) -> None:
        self._stall_timer = None
        unread = self.transport.get_write_buffer_size()
        if unread > unread_before - STALL_BYTES and unread:
            self.transport.abort()
        elif unread:
            self._watch_reader(unread)


async def refuse_connection(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that refuses every request, and ends the connection."""
    answer = refuse(503, "too many connections at once: try again in a moment")
    await respond(answer, SECURITY_HEADERS | {"connection": "close"})(scope, receive, send)


def _cancel(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Cancel a timer if there is one; returns what is left of it, None."""
    if timer is not None:
        timer.cancel()
    return None
