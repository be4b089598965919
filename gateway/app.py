"""The gateway's HTTP: ``POST /predict``, health, and the documentation of both."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path

from gateway.openapi import DOCS_PAGE, PIXEL, document
from gateway.settings import MAX_BODY, Settings
from gateway.torchserve import RETRY_SECONDS, TorchServe
from handler import contract
from handler.jobs import POOL, STREAM_TYPE

T = TypeVar("T")

DRAIN = 8 * MAX_BODY
"""A body over the limit is read and thrown away up to here, so that its sender gets to see the answer."""

PROBE = contract.dump({"image": PIXEL})
"""A request with a photograph of one pixel, for :func:`readyz`."""

READY_SECONDS = 10.0
READY_KEPT = 1.0
"""A readiness answer holds for so many seconds, so that many askers do not become load."""


def create_app(settings: Settings) -> Starlette:
    """The gateway as an ASGI application."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.torchserve = TorchServe(settings)
        app.state.ready = (0.0, False)
        yield
        await app.state.torchserve.close()

    return Starlette(
        routes=[
            Route("/predict", predict, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/openapi.json", openapi, methods=["GET"]),
            Route("/docs", docs, methods=["GET"]),
            Route("/", lambda request: RedirectResponse("/docs"), methods=["GET"]),
            Mount("/docs/assets", StaticFiles(directory=swagger_ui_path), name="assets"),
        ],
        middleware=[Middleware(GZipMiddleware, minimum_size=1000, compresslevel=1)],
        exception_handlers={HTTPException: http_error, Exception: any_error},
        lifespan=lifespan,
    )


async def predict(request: Request) -> Response:
    """Check, pass on, and give back the documented JSON."""
    try:
        body = await read_body(request)
        checked = await run_in_threadpool(contract.parse_request, body)
    except contract.ContractError as error:
        return respond(contract.refuse(error.status, str(error)))
    except ClientDisconnect:
        return Response(status_code=499)  # nobody reads it
    torchserve: TorchServe = request.app.state.torchserve
    if not checked.explain:
        return respond(await torchserve.predict(body))
    stream = STREAM_TYPE in request.headers.get("accept", "")
    parts = torchserve.explain(body, patience(request, torchserve.settings), stream)
    # Whoever leaves early ends the work: the generator sees to that when it is closed.
    first = await unless_gone(request, anext(parts))
    if first is None:
        await parts.aclose()
        return Response(status_code=499)  # nobody reads it
    if isinstance(first, contract.Answer):
        await parts.aclose()
        return respond(first, stream=stream)
    # A compressed stream would arrive in lumps.
    return StreamingResponse(lines(first, parts), media_type=STREAM_TYPE, headers={"content-encoding": "identity"})


async def lines(first: bytes, parts: AsyncGenerator[bytes | contract.Answer]) -> AsyncIterator[bytes]:
    """What a streaming client reads: progress, and the answer as the last line."""
    async with contextlib.aclosing(parts):
        yield first
        async for part in parts:
            yield part.body + b"\n" if isinstance(part, contract.Answer) else part


async def unless_gone(request: Request, work: Awaitable[T]) -> T | None:
    """The result of ``work``; None, and ``work`` is cancelled, if the client leaves before."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(request.receive())  # the body is read: all that can come is the end
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


def patience(request: Request, settings: Settings) -> float:
    """Seconds after which an explanation ends with the best so far: the service's, or fewer if the client prefers.

    ``Prefer: wait=10`` is how HTTP says that (RFC 7240).
    """
    if wait := re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", request.headers.get("prefer", ""), re.IGNORECASE):
        return min(float(wait[1]), settings.explain_seconds)
    return settings.explain_seconds


async def read_body(request: Request) -> bytes:
    """The whole body.

    Raises:
        ContractError: over :data:`gateway.settings.MAX_BODY` bytes, with status 413.
    """
    too_large = contract.ContractError(
        f"the request is over {MAX_BODY // 2**20} MiB: send a smaller photograph", status=413
    )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > DRAIN:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= MAX_BODY:
            parts.append(part)
        else:
            parts.clear()
            if size > DRAIN:
                break
    if size > MAX_BODY:
        raise too_large
    return b"".join(parts)


async def healthz(request: Request) -> Response:
    """This process is alive."""
    return JSONResponse({"status": "alive"})


async def readyz(request: Request) -> Response:
    """A prediction works: one is made."""
    state = request.app.state
    asked, ready = state.ready
    if time.monotonic() - asked > READY_KEPT or not ready:
        answer = await state.torchserve.ask(POOL, PROBE, READY_SECONDS)
        ready = answer.status == 200
        state.ready = (time.monotonic(), ready)
    if ready:
        return JSONResponse({"status": "ready"})
    return respond(contract.refuse(503, "no prediction can be made at present"))


async def openapi(request: Request) -> Response:
    return JSONResponse(document())


async def docs(request: Request) -> Response:
    return HTMLResponse(DOCS_PAGE)


async def http_error(request: Request, error: HTTPException) -> Response:
    """No such path, or no such method there, in the documented form."""
    known = {404: "there is nothing here: POST /predict, or GET /docs", 405: f"{request.method} is not possible here"}
    return respond(contract.refuse(error.status_code, known.get(error.status_code, error.detail)), error.headers)


async def any_error(request: Request, error: Exception) -> Response:
    return respond(contract.refuse(500, "a fault of the gateway: see its log"))


def respond(answer: contract.Answer, headers: dict[str, str] | None = None, stream: bool = False) -> Response:
    headers = dict(headers or {}) | ({"retry-after": str(RETRY_SECONDS)} if answer.retry else {})
    if stream:
        return Response(answer.body + b"\n", answer.status, headers, media_type=STREAM_TYPE)
    return Response(answer.body, answer.status, headers, media_type="application/json")
