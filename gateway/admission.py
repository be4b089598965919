"""Admission control: limits on the number of requests, on the bytes that they hold, and on how slowly they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from api.errors import ErrorCode
from api.request import ContractError
from gateway.settings import MAX_BODY

DRAIN_BODY = 8 * MAX_BODY
"""Bytes of a body over the limit that are read and discarded, so that its sender receives the answer."""

BODY_SECONDS, BODY_RATE = 20.0, 32 * 1024
"""Seconds that a body may take, and bytes for which it may take another: enough for a slow line, not for an attack."""


class Limiter:
    """A limit on the requests that are admitted, and on their bytes. More are refused at once.

    Args:
        label: what is admitted, for the message of a refusal.
        slots: most requests at once.
        capacity: most bytes that they hold together.
        status: of a refusal, 503 for a limit that all clients share.
    """

    def __init__(self, label: str, slots: int, capacity: int, status: int = 503) -> None:
        self.label = label
        self.status = status
        self.slots = slots
        self.capacity = capacity
        self.used_slots = 0
        self.used_bytes = 0

    @contextmanager
    def slot(self, size: int = 0) -> Iterator[Slot]:
        """A slot for a request that holds ``size`` bytes.

        Raises:
            ContractError: the limiter is full, with its status.
        """
        if self.used_slots >= self.slots:
            raise self.refusal()
        slot = Slot(self)
        slot.reserve(size)
        self.used_slots += 1
        try:
            yield slot
        finally:
            self.used_slots -= 1
            self.used_bytes -= slot.size

    def refusal(self) -> ContractError:
        """The error for a request that is not admitted."""
        code = ErrorCode.BUSY if self.status == 503 else ErrorCode.RATE_LIMITED
        return ContractError(f"too many {self.label} at once: try again in a moment", self.status, code)


class Slot:
    """The slot of one request, and the bytes that are reserved for it."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self.size = 0

    def reserve(self, size: int) -> None:
        """Reserve ``size`` bytes altogether, at least what is reserved already.

        Raises:
            ContractError: the limiter's bytes do not suffice, with its status.
        """
        more = max(0, size - self.size)
        if more and self._limiter.used_bytes + more > self._limiter.capacity:
            raise self._limiter.refusal()
        self._limiter.used_bytes += more
        self.size += more


async def read_body(request: Request, slot: Slot) -> bytes:
    """The whole body; ``slot`` reserves the announced bytes at once, so that a body that was begun can be completed.

    Raises:
        ContractError: over :data:`gateway.settings.MAX_BODY` bytes (status 413), too many bytes at once (503), or too
            slow (408).
        starlette.requests.ClientDisconnect: the client left before it was complete.
    """
    too_large = ContractError(f"the request is over {MAX_BODY // 2**20} MiB: send a smaller photograph", status=413)
    announced = request.headers.get("content-length", "")
    expected = int(announced) if announced.isdigit() else 0
    if expected > DRAIN_BODY:
        raise too_large
    slot.reserve(min(expected, MAX_BODY))
    parts: list[bytes] = []
    size = 0
    started = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(started + BODY_SECONDS) as limit:
            async for part in request.stream():
                size += len(part)
                limit.reschedule(started + BODY_SECONDS + size / BODY_RATE)
                if size <= MAX_BODY:
                    slot.reserve(size)
                    parts.append(part)
                else:
                    parts.clear()
                    if size > DRAIN_BODY:
                        break
    except TimeoutError:
        raise ContractError("the request arrives too slowly: send it faster, or a smaller photograph", 408) from None
    if size > MAX_BODY:
        raise too_large
    return b"".join(parts)
