"""Reading a request's body within limits of size and time."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from api.request import ContractError
from gateway.admission import Slot
from gateway.settings import MAX_BODY

DRAIN_BODY = 8 * MAX_BODY
"""Bytes of a body over the limit that are read and discarded, so that its sender receives the answer."""

BODY_SECONDS, BODY_RATE = 20.0, 32 * 1024
"""A body may take so many seconds, and another for so many bytes: enough for a slow line, not for a drip attack."""


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
