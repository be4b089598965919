"""The gateway's HTTP: ``POST /predict``, health, and the documentation of both."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from typing import Any, TypeVar

import httpx
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

from api.contract import Answer, ContractError, parse_json, refuse
from api.headers import STREAM_TYPE
from api.openapi import document
from gateway.body import read_body
from gateway.docs_page import DOCS_PAGE
from gateway.readiness import Readiness
from gateway.settings import Settings
from gateway.torchserve import TorchServe

T = TypeVar("T")

RETRY_SECONDS = 5
"""What ``Retry-After`` says: a worker that died is back in about that time."""

CLIENT_GONE = 499
"""Status of a response that nobody reads (nginx's code); it appears in logs only."""

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", re.IGNORECASE)


def create_app(settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> Starlette:
    """The gateway as an ASGI application; ``transport`` stands in for TorchServe in tests."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.torchserve = TorchServe(settings, transport)
        app.state.readiness = Readiness(app.state.torchserve)
        yield
        await app.state.torchserve.close()

    app = Starlette(
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
    app.router.redirect_slashes = False  # a redirection would repeat whatever host the client claims
    return app


async def predict(request: Request) -> Response:
    """Check a request, pass it on, and return the documented JSON."""
    try:
        body = await read_body(request)
        checked = await run_in_threadpool(parse_json, body)
    except ContractError as error:
        return respond(refuse(error.status, str(error)))
    except ClientDisconnect:
        return Response(status_code=CLIENT_GONE)
    del body  # the photograph has been decoded: its base64 would take memory for as long as an explanation takes
    torchserve: TorchServe = request.app.state.torchserve
    if not checked.explain:
        return respond(await torchserve.predict(checked))
    stream = STREAM_TYPE in request.headers.get("accept", "")
    parts = torchserve.explain(checked, explain_seconds(request, torchserve.settings), stream)
    first = await unless_disconnected(request, anext(parts))
    if first is None or isinstance(first, Answer):
        await parts.aclose()  # which cancels the work of a client that has left
        return Response(status_code=CLIENT_GONE) if first is None else respond(first, stream=stream)
    # A compressed stream would arrive in lumps.
    return StreamingResponse(lines(first, parts), media_type=STREAM_TYPE, headers={"content-encoding": "identity"})


async def lines(first: bytes, parts: AsyncGenerator[bytes | Answer]) -> AsyncIterator[bytes]:
    """What a streaming client reads: lines of progress, and the answer as the last line."""
    async with contextlib.aclosing(parts):
        yield first
        async for part in parts:
            yield part.body + b"\n" if isinstance(part, Answer) else part


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of ``work``; None if the client disconnects first, and ``work`` is cancelled."""
    working = asyncio.ensure_future(work)
    disconnected = asyncio.ensure_future(request.receive())  # the body has been read: only the end can come
    try:
        await asyncio.wait({working, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, disconnected):
            task.cancel()
        await asyncio.gather(working, disconnected, return_exceptions=True)


def explain_seconds(request: Request, settings: Settings) -> float:
    """Seconds after which an explanation ends with the best result so far.

    The settings' limit, or less if the client sends ``Prefer: wait=10`` (RFC 7240).
    """
    if wait := _WAIT.search(request.headers.get("prefer", "")):
        return min(float(wait[1]), settings.explain_seconds)
    return settings.explain_seconds


async def healthz(request: Request) -> Response:
    """This process is alive."""
    return JSONResponse({"status": "alive"})


async def readyz(request: Request) -> Response:
    """A prediction works."""
    if await request.app.state.readiness.check():
        return JSONResponse({"status": "ready"})
    return respond(refuse(503, "no prediction can be made at present"))


async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(document())


async def docs(request: Request) -> Response:
    """The page that shows the OpenAPI document."""
    return HTMLResponse(DOCS_PAGE)


async def http_error(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, in the documented form."""
    assert isinstance(error, HTTPException)
    known = {404: "there is nothing here: POST /predict, or GET /docs", 405: f"{request.method} is not possible here"}
    text = known.get(error.status_code, "the request cannot be answered: POST /predict, or GET /docs")
    return respond(refuse(error.status_code, text), error.headers)


async def any_error(request: Request, error: Exception) -> Response:
    """A fault of the gateway itself; Starlette logs it."""
    return respond(refuse(500, "a fault of the gateway: see its log"))


def respond(answer: Answer, headers: Mapping[str, str] | None = None, stream: bool = False) -> Response:
    """An answer as an HTTP response; a streaming client gets it as a line."""
    headers = dict(headers or {}) | ({"retry-after": str(RETRY_SECONDS)} if answer.retry else {})
    if stream:
        return Response(answer.body + b"\n", answer.status, headers, media_type=STREAM_TYPE)
    return Response(answer.body, answer.status, headers, media_type="application/json")
