"""Admission control: limits on the number of requests, on the bytes that they hold, and on how slowly they arrive."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakValueDictionary

from starlette.requests import Request

from api.errors import ErrorCode
from api.request import ContractError
from gateway.settings import MAX_BODY, Settings

DRAIN_BODY = 8 * MAX_BODY
"""Bytes of a body over the limit that are read and discarded, so that its sender receives the answer."""

BODY_SECONDS, BODY_RATE = 20.0, 32 * 1024
"""Seconds that a body may take or pause, and bytes for which it may take another: enough for a slow line, not for an
attack."""

BUFFERED = 64 * 1024
"""Bytes reserved beyond those read: uvicorn receives as many in advance."""


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

    @property
    def full(self) -> bool:
        """Whether another request would be refused."""
        return self.used_slots >= self.slots or self.used_bytes > max(0, self.capacity - BUFFERED)

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


class Addresses:
    """Limits for each client address, so that one client cannot use up what all share.

    Trusted proxies and this machine are exempt: they act for many clients.
    """

    def __init__(self, settings: Settings) -> None:
        self._exempt = settings.proxies
        self.requests = settings.address_requests or sys.maxsize
        self._bytes = max(settings.queue_bytes // 2, MAX_BODY)
        self._limiters: WeakValueDictionary[str, Limiter] = WeakValueDictionary()

    def group(self, host: str) -> str:
        """What is limited together: an IPv4 address, an IPv6 network, or nothing, which is empty."""
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:  # a Unix socket
            return ""
        if any(address in network for network in self._exempt):
            return ""
        return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else host

    def limiter(self, host: str) -> Limiter:
        """Of the requests from ``host`` and those with which it is limited together."""
        group = self.group(host)
        if not group:
            return Limiter("requests", sys.maxsize, sys.maxsize)
        limiter = Limiter("requests from your address", self.requests, self._bytes, status=429)
        return self._limiters.setdefault(group, limiter)


TOO_LARGE = f"the request is over {MAX_BODY // 2**20} MiB: send a smaller photograph"


async def read_body(request: Request, slots: Sequence[Slot]) -> bytes:
    """The whole body; ``slots`` reserve its bytes as they arrive, since announcing them costs a client nothing.

    Raises:
        ContractError: over :data:`gateway.settings.MAX_BODY` bytes (status 413), too many bytes at once (503, or 429
            with a client's own limit), or too slow (408).
        starlette.requests.ClientDisconnect: the client left before it was complete.
    """
    too_large = ContractError(TOO_LARGE, status=413)
    announced = request.headers.get("content-length", "")
    expected = int(announced) if announced.isdigit() else MAX_BODY
    if expected > DRAIN_BODY:
        raise too_large
    parts: list[bytes] = []
    size = 0
    clock = asyncio.get_running_loop().time
    started = clock()
    try:
        async with asyncio.timeout_at(started + BODY_SECONDS) as limit:
            async for part in request.stream():
                size += len(part)
                limit.reschedule(min(started + size / BODY_RATE, clock()) + BODY_SECONDS)
                if size <= MAX_BODY:
                    for slot in slots:
                        slot.reserve(min(size + BUFFERED, expected))
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
