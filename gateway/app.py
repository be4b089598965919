"""The gateway's HTTP: ``POST /predict``, health, and the documentation of both."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send
from swagger_ui_bundle import swagger_ui_path

from api.answer import Answer, refuse
from api.headers import EXPLAIN_POOL, POOL, STREAM_TYPE
from api.openapi import document
from api.request import ContractError, parse_json
from gateway.admission import Place, Room
from gateway.answers import respond
from gateway.backend import Backend, MakeBackend
from gateway.body import read_body
from gateway.docs_page import DOCS_PAGE
from gateway.handover import address, follow
from gateway.keys import explanations_of
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.middleware import WatchedApp, middleware
from gateway.readiness import Readiness
from gateway.record import current
from gateway.settings import Settings
from gateway.torchserve import TorchServe

T = TypeVar("T")

CLIENT_GONE = 499
"""Status of a response that nobody reads (nginx's code); it appears in logs only."""

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", re.IGNORECASE)


def create_app(
    settings: Settings,
    transport: httpx.AsyncBaseTransport | None = None,
    make_backend: MakeBackend | None = None,
) -> Starlette:
    """The gateway as an ASGI application.

    Args:
        settings: its limits.
        transport: stands in for TorchServe in tests.
        make_backend: makes another engine than TorchServe.

    Raises:
        gateway.keys.KeysError: the file of API keys cannot be used.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        def use(backend: Backend) -> None:
            app.state.backend, app.state.readiness = backend, Readiness(backend)

        def torchserve(url: str) -> TorchServe:
            return TorchServe(replace(settings, torchserve_url=url), transport)

        def change(url: str) -> TorchServe:
            """Ask TorchServe at ``url`` from now on; returns the client that was asked before."""
            before: TorchServe = app.state.backend
            use(torchserve(url))
            return before

        use(make_backend(settings) if make_backend else torchserve(address(settings)))
        # Connections are counted before they get here, so arriving bodies are bounded by their bytes alone.
        app.state.bodies = Room("photographs", sys.maxsize, settings.queue_bytes)
        app.state.classifications = Room("classifications", settings.predict_queue, settings.queue_bytes)
        app.state.explanations = Room("explanations", settings.explain_queue, settings.queue_bytes)
        app.state.metrics.watch(app.state.classifications, app.state.explanations)
        following = (
            asyncio.create_task(follow(settings, change)) if settings.torchserve_file and not make_backend else None
        )
        yield
        if following:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await app.state.backend.close()

    counted = Metrics()
    app = WatchedApp(
        counted,
        routes=[
            Route("/predict", predict, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
            Route("/openapi.json", openapi, methods=["GET"]),
            Route("/docs", docs, methods=["GET"]),
            Route("/", lambda request: RedirectResponse("/docs"), methods=["GET"]),
            Mount("/docs/assets", StaticFiles(directory=swagger_ui_path), name="assets"),
        ],
        middleware=middleware(settings),
        exception_handlers={HTTPException: http_error, Exception: any_error},
        lifespan=lifespan,
    )
    app.state.metrics = counted
    app.state.settings = settings
    app.state.document = document(api_keys=bool(settings.api_keys_file))
    app.router.redirect_slashes = False  # a redirection would repeat whatever host the client claims
    return app


async def predict(request: Request) -> Response:
    """``POST /predict``: the documented JSON, also when the gateway stops before there is an answer."""
    try:
        return await _predict(request)
    except asyncio.CancelledError:  # by uvicorn, when the time to finish is over
        return respond(refuse(503, "the service is being stopped: try again in a moment"))


async def _predict(request: Request) -> Response:
    """Check a request, let it in or refuse it, pass it on."""
    state = request.app.state
    try:
        with state.bodies.enter() as place:
            checked = await run_in_threadpool(parse_json, await read_body(request, place))
            # From here on the photograph is held, and its base64 is not.
            current().pool = EXPLAIN_POOL if checked.explain else POOL
            if checked.explain:
                place = state.explanations.enter(len(checked.image), explanations_of(request.scope))
            else:
                place = state.classifications.enter(len(checked.image))
    except ContractError as error:
        return respond(refuse(error.status, str(error)))
    except ClientDisconnect:
        return Response(status_code=CLIENT_GONE)
    if not checked.explain:
        with place:
            answer = await unless_disconnected(request, state.backend.predict(checked))
        return Response(status_code=CLIENT_GONE) if answer is None else respond(noted(answer))
    stream = STREAM_TYPE in request.headers.get("accept", "")
    parts = state.backend.explain(checked, explain_seconds(request, state.settings), stream)
    with contextlib.ExitStack() as stack:
        stack.enter_context(place)
        first = await unless_disconnected(request, anext(parts))
        if first is None or isinstance(first, Answer):
            await parts.aclose()  # which cancels the work of a client that has left
            return Response(status_code=CLIENT_GONE) if first is None else respond(noted(first), stream=stream)
        stack.pop_all()
        return Lines(first, parts, place)


def noted(answer: Answer) -> Answer:
    """``answer``, noted for the log and the metrics."""
    current().answer = answer
    return answer


class Lines(StreamingResponse):
    """What a streaming client reads: lines of progress, and the answer as the last line.

    Args:
        first: the first line.
        parts: the others. They are closed when the response ends, however it does.
        place: left when the answer is there, as a client may take long to read it.
    """

    def __init__(self, first: bytes, parts: AsyncGenerator[bytes | Answer], place: Place) -> None:
        # A compressed stream would arrive in lumps.
        super().__init__(self._lines(first), media_type=STREAM_TYPE, headers={"content-encoding": "identity"})
        self._parts = parts
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            async with contextlib.aclosing(self._parts):
                await super().__call__(scope, receive, send)

    async def _lines(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        async for part in self._parts:
            if isinstance(part, Answer):
                self._place.leave()
                yield noted(part).body + b"\n"
            else:
                yield part


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


async def metrics(request: Request) -> Response:
    """Figures for Prometheus: the gateway's and the engine's."""
    state = request.app.state
    return Response(state.metrics.text() + await state.backend.metrics(), media_type=CONTENT_TYPE)


async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(request.app.state.document)


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
