"""The gateway's endpoints: ``POST /predict``, health, metrics and the documentation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
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
from api.errors import ErrorCode
from api.headers import EXPLAIN_POOL, POOL, STREAM_TYPE
from api.openapi import document
from api.request import ContractError, parse_json
from gateway.admission import Limiter, Slot
from gateway.backend import Backend, MakeBackend, Readiness
from gateway.body import read_body
from gateway.hold import Hold
from gateway.keys import explanation_limiter
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.middleware import Gateway, middleware
from gateway.record import current, record_answer, record_explanation
from gateway.responses import DOCS_PAGE, respond
from gateway.settings import Settings
from gateway.torchserve import TorchServe

logger = logging.getLogger(__name__)

T = TypeVar("T")

CLIENT_CLOSED_REQUEST = 499
"""Status of a response that nobody reads (nginx's code), which appears in logs only."""

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", re.IGNORECASE)


def create_app(
    settings: Settings,
    transport: httpx.AsyncBaseTransport | None = None,
    make_backend: MakeBackend | None = None,
) -> Starlette:
    """The gateway as an ASGI application.

    Args:
        settings: addresses, limits and files.
        transport: replaces the connection to TorchServe in tests.
        make_backend: makes another engine than TorchServe.

    Raises:
        gateway.keys.KeysError: the file of API keys cannot be used.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        backend: Backend = make_backend(settings) if make_backend else TorchServe(settings, transport)
        app.state.readiness = Readiness(backend)  # which asks even while requests are held
        if settings.hold_socket:
            backend = Hold(backend, settings.hold_seconds)
            try:
                await backend.listen(settings.hold_socket)
            except OSError as error:  # a path that is too long, say
                logger.warning("requests cannot be held, so the model cannot be replaced: %s", error)
        app.state.backend = backend
        # Connections are counted before they get here, so arriving bodies are bounded by their bytes alone.
        app.state.bodies = Limiter("photographs", sys.maxsize, settings.queue_bytes)
        app.state.classifications = Limiter("classifications", settings.predict_queue, settings.queue_bytes)
        app.state.explanations = Limiter("explanations", settings.explain_queue, settings.queue_bytes)
        app.state.metrics.watch(app.state.classifications, app.state.explanations)
        yield
        await backend.close()

    metrics_ = Metrics()
    app = Gateway(
        metrics_,
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
    app.state.metrics = metrics_
    app.state.settings = settings
    app.state.document = document(api_keys=bool(settings.api_keys_file))
    app.router.redirect_slashes = False  # a redirection would repeat whatever host the client claims
    return app


async def predict(request: Request) -> Response:
    """``POST /predict``: the documented JSON, also if the gateway stops before there is an answer."""
    try:
        return await _predict(request)
    except ContractError as error:
        return respond(refuse(error.status, str(error), error.code))
    except ClientDisconnect:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    except asyncio.CancelledError:  # by uvicorn, when the time to finish is over
        return respond(refuse(503, "the service is being stopped: try again in a moment", ErrorCode.UNAVAILABLE))


async def _predict(request: Request) -> Response:
    """Check a request, admit it, and pass it on.

    Raises:
        ContractError: it is refused.
        starlette.requests.ClientDisconnect: nobody waits for the answer.
    """
    state = request.app.state
    with state.bodies.acquire() as slot:
        checked = await run_in_threadpool(parse_json, await read_body(request, slot))
        # From here on the photograph is held, and its base64 is not.
        current().pool = EXPLAIN_POOL if checked.explain else POOL
        limiter = state.explanations if checked.explain else state.classifications
        slot = limiter.acquire(len(checked.image), explanation_limiter(request.scope) if checked.explain else None)
    if not checked.explain:
        with slot:
            return respond(record_answer(await unless_disconnected(request, state.backend.predict(checked))))
    stream = STREAM_TYPE in request.headers.get("accept", "")
    # The metrics need the details' figures, whether or not the client asks for them.
    parts = state.backend.explain(replace(checked, details=True), explain_seconds(request, state.settings), stream)
    with contextlib.ExitStack() as stack:
        stack.enter_context(slot)
        try:
            first = await unless_disconnected(request, anext(parts))
        except ClientDisconnect:
            await parts.aclose()  # which cancels the work
            raise
        if isinstance(first, Answer):
            return respond(record_explanation(first, checked.details), stream=stream)
        stack.pop_all()
        return ProgressResponse(first, parts, slot, checked.details)


class ProgressResponse(StreamingResponse):
    """Lines of progress, and the answer as the last line.

    Args:
        first: the first line.
        parts: the other lines and the answer. They are closed when the response ends, however it does.
        slot: released when the answer is there, as a client may take long to read it.
        details: whether the answer keeps its details.
    """

    def __init__(self, first: bytes, parts: AsyncGenerator[bytes | Answer], slot: Slot, details: bool) -> None:
        # A compressed stream would arrive in lumps.
        super().__init__(self._lines(first), media_type=STREAM_TYPE, headers={"content-encoding": "identity"})
        self._parts = parts
        self._slot = slot
        self._details = details

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._slot:
            async with contextlib.aclosing(self._parts):
                await super().__call__(scope, receive, send)

    async def _lines(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        async for part in self._parts:
            if isinstance(part, Answer):
                self._slot.release()
                yield record_explanation(part, self._details).line()
            else:
                yield part


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``.

    Raises:
        starlette.requests.ClientDisconnect: the client disconnected first, and ``work`` was cancelled.
    """
    working = asyncio.ensure_future(work)
    disconnected = asyncio.ensure_future(request.receive())  # after the body, only a disconnection can come
    try:
        await asyncio.wait({working, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
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
    return respond(refuse(503, "no prediction can be made at present", ErrorCode.UNAVAILABLE))


async def metrics(request: Request) -> Response:
    """Prometheus metrics of the gateway and the engine."""
    state = request.app.state
    return Response(state.metrics.text() + await state.backend.metrics(), media_type=CONTENT_TYPE)


async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(request.app.state.document)


async def docs(request: Request) -> Response:
    """The page that shows the OpenAPI document."""
    return HTMLResponse(DOCS_PAGE)


async def http_error(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, refused in the documented form."""
    assert isinstance(error, HTTPException)
    known = {404: "there is nothing here: POST /predict, or GET /docs", 405: f"{request.method} is not possible here"}
    text = known.get(error.status_code, "the request cannot be answered: POST /predict, or GET /docs")
    return respond(refuse(error.status_code, text), error.headers)


async def any_error(request: Request, error: Exception) -> Response:
    """A fault of the gateway, which Starlette logs."""
    return respond(refuse(500, "a fault of the gateway: see its log"))
