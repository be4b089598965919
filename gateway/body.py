"""Reading a request's body within a limit."""

from __future__ import annotations

from starlette.requests import Request

from api.contract import ContractError
from gateway.settings import MAX_BODY

DRAIN_BODY = 8 * MAX_BODY
"""A body over the limit is read and discarded up to this size in bytes, so that its sender receives the answer."""


async def read_body(request: Request) -> bytes:
    """The whole body.

    Raises:
        ContractError: over :data:`gateway.settings.MAX_BODY` bytes, with status 413.
        starlette.requests.ClientDisconnect: the client left before it was complete.
    """
    too_large = ContractError(f"the request is over {MAX_BODY // 2**20} MiB: send a smaller photograph", status=413)
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > DRAIN_BODY:
        raise too_large
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= MAX_BODY:
            parts.append(part)
        else:
            parts.clear()
            if size > DRAIN_BODY:
                break
    if size > MAX_BODY:
        raise too_large
    return b"".join(parts)
