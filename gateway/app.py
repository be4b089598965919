"""The gateway as an ASGI application: ``POST /predict``, health, metrics and the documentation."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from swagger_ui_bundle import swagger_ui_path

from api.answer import refuse
from api.errors import ErrorCode
from api.headers import ERROR_HEADER, REQUEST_ID_HEADER
from api.openapi import document
from gateway.backend import Backend, Readiness
from gateway.hold import Hold
from gateway.keys import RequireKey, load_keys
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.middleware import RequestMiddleware
from gateway.predict import Predict
from gateway.responses import DOCS_PAGE, respond
from gateway.settings import Settings
from gateway.traces import instrument_app

logger = logging.getLogger(__name__)


def create_app(settings: Settings, backend: Backend) -> Starlette:
    """The gateway in front of ``backend``, which is closed with it.

    Raises:
        gateway.keys.KeysError: the file of API keys cannot be used.
    """
    hold = Hold(settings.hold_seconds)
    predict = Predict(settings, backend, hold)
    metrics = Metrics(predict.limiters)
    readiness = Readiness(backend)  # which asks even while requests are held
    openapi = document(api_keys=bool(settings.api_keys_file))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if settings.hold_socket:
            try:
                await hold.listen(settings.hold_socket)
            except OSError as error:  # a path that is too long, say
                logger.warning("requests cannot be held, so the model cannot be replaced: %s", error)
        yield
        await backend.close()

    async def healthz(request: Request) -> Response:
        """This process is alive."""
        return JSONResponse({"status": "alive"})

    async def readyz(request: Request) -> Response:
        """A prediction works."""
        if await readiness.check() and not predict.bodies.full:
            return JSONResponse({"status": "ready"})
        return respond(refuse(503, "no prediction can be made at present", ErrorCode.UNAVAILABLE))

    async def prometheus(request: Request) -> Response:
        """Metrics of the gateway and the engine."""
        return Response(metrics.text() + await backend.metrics(), media_type=CONTENT_TYPE)

    app = Gateway(
        settings,
        metrics,
        routes=[
            Route("/predict", predict, methods=["POST", "PUT"]),  # PUT as `curl -T` sends a file
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", prometheus),
            Route("/openapi.json", lambda request: JSONResponse(openapi)),
            Route("/docs", lambda request: HTMLResponse(DOCS_PAGE)),
            Route("/", lambda request: RedirectResponse("docs")),  # relative, as a proxy may add a prefix
            Mount("/docs/assets", StaticFiles(directory=swagger_ui_path), name="assets"),
        ],
        middleware=middleware(settings),
        exception_handlers={HTTPException: http_error, Exception: any_error},
        lifespan=lifespan,
    )
    app.state.predict = predict
    app.router.redirect_slashes = False  # a redirection would repeat whatever host the client claims
    return app


class Gateway(Starlette):
    """Starlette within :class:`gateway.middleware.RequestMiddleware` and CORS, which thus see the response to a fault,
    too."""

    def __init__(self, settings: Settings, metrics: Metrics, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._settings, self._metrics = settings, metrics

    def build_middleware_stack(self) -> ASGIApp:
        app = with_cors(instrument_app(super().build_middleware_stack()), self._settings)
        return RequestMiddleware(app, self._metrics)


def with_cors(app: ASGIApp, settings: Settings) -> ASGIApp:
    """``app`` for pages of the settings' origins. A browser's preflight request has no key, so this is outside of the
    keys."""
    if not settings.origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=settings.origins,
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-encoding", "content-type", "prefer", REQUEST_ID_HEADER],
        expose_headers=["retry-after", REQUEST_ID_HEADER, ERROR_HEADER],
    )


def middleware(settings: Settings) -> list[Middleware]:
    """From outside to inside: API keys if the settings name them, and compression.

    Raises:
        gateway.keys.KeysError: the file of API keys cannot be used.
    """
    keys = load_keys(settings)
    chain = [Middleware(RequireKey, keys=keys)] if keys else []
    return [*chain, Middleware(GZipMiddleware, minimum_size=1000, compresslevel=1)]


async def http_error(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, refused in the documented form."""
    assert isinstance(error, HTTPException)
    known = {404: "there is nothing here: POST /predict, or GET /docs", 405: f"{request.method} is not possible here"}
    text = known.get(error.status_code, "the request cannot be answered: POST /predict, or GET /docs")
    return respond(refuse(error.status_code, text), error.headers)


async def any_error(request: Request, error: Exception) -> Response:
    """A fault of the gateway, which Starlette logs."""
    return respond(refuse(500, "a fault of the gateway: see its log"))
