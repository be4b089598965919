"""Holding requests while the model server restarts with another model.

A process that connects to the Unix socket :attr:`gateway.settings.Settings.hold_socket` holds new requests until it
disconnects or exits. It is sent :data:`IDLE` when the earlier requests have finished.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from api.errors import ErrorCode
from api.request import ContractError

IDLE = b"idle\n"

POLL_SECONDS = 0.05


class Hold:
    """Lets requests pass, or holds them.

    Args:
        seconds: longest that a request is held; then it is refused.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running = 0
        self._released = asyncio.Event()
        self._released.set()

    async def listen(self, path: str) -> asyncio.Server:
        """Hold requests while a process is connected to the Unix socket ``path``.

        Raises:
            OSError: the socket cannot be made.
        """
        return await asyncio.start_unix_server(self._hold, path)

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._released.clear()
        try:
            disconnected = asyncio.ensure_future(reader.read())
            while self._running and not disconnected.done():
                await asyncio.sleep(POLL_SECONDS)
            writer.write(IDLE)
            with contextlib.suppress(ConnectionError):
                await disconnected
        finally:
            self._released.set()
            writer.close()

    @contextlib.asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """Enter when requests are not held, and count one as running until it exits.

        Raises:
            ContractError: it was held too long.
        """
        try:
            async with asyncio.timeout(self._seconds):
                await self._released.wait()
        except TimeoutError:
            text = "the model is being replaced: try again in a moment"
            raise ContractError(text, 503, ErrorCode.UNAVAILABLE) from None
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
