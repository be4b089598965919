"""Holding requests while the model server restarts with another model.

Whoever connects to the Unix socket :attr:`gateway.settings.Settings.hold_socket` holds new requests for as long as the
connection lasts, and is sent :data:`IDLE` when those before them have finished. The connection ends with the process
that made it, so requests are never held for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator

from api.answer import Answer, refuse
from api.errors import ErrorCode
from api.request import Request
from gateway.backend import Backend

IDLE = b"idle\n"

POLL_SECONDS = 0.05


class Hold:
    """A :class:`Backend` whose requests can be held.

    Args:
        backend: gets them.
        seconds: longest that a request is held; then it is refused.
    """

    def __init__(self, backend: Backend, seconds: float) -> None:
        self._backend = backend
        self._seconds = seconds
        self._running = 0
        self._released = asyncio.Event()
        self._released.set()

    async def listen(self, path: str) -> asyncio.Server:
        """Hold requests for whoever connects to the Unix socket ``path``."""
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

    async def predict(self, request: Request, seconds: float | None = None) -> Answer:
        """As the backend, after the hold."""
        if refusal := await self._refusal():
            return refusal
        with self._counted():
            return await self._backend.predict(request, seconds)

    async def explain(self, request: Request, seconds: float, stream: bool) -> AsyncGenerator[bytes | Answer]:
        """As the backend, after the hold."""
        if refusal := await self._refusal():
            yield refusal
            return
        with self._counted():
            async with contextlib.aclosing(self._backend.explain(request, seconds, stream)) as parts:
                async for part in parts:
                    yield part

    async def metrics(self) -> bytes:
        """As the backend."""
        return await self._backend.metrics()

    async def close(self) -> None:
        """As the backend."""
        await self._backend.close()

    async def _refusal(self) -> Answer | None:
        """Wait while requests are held; the answer to one that was held too long."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._released.wait()
        except TimeoutError:
            return refuse(503, "the model is being replaced: try again in a moment", ErrorCode.UNAVAILABLE)
        return None

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
