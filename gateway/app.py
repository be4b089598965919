"""The gateway's HTTP: ``POST /predict``, health, and the documentation of both."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path

from gateway.openapi import DOCS_PAGE, PIXEL, document
from gateway.settings import MAX_BODY, Settings
from gateway.torchserve import POOL, RETRY_SECONDS, TorchServe
from handler import contract

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
    return respond(await request.app.state.torchserve.predict(body, checked.explain))


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


def respond(answer: contract.Answer, headers: dict[str, str] | None = None) -> Response:
    headers = dict(headers or {}) | ({"retry-after": str(RETRY_SECONDS)} if answer.retry else {})
    return Response(answer.body, answer.status, headers, media_type="application/json")
