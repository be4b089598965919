"""What a request passes on its way to ``gateway.app``'s functions, and its answer on the way back."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

from api.headers import REQUEST_ID_HEADER
from gateway.keys import Keys, RequireKey
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.traces import instrument_app
from gateway.watch import Watch

CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST"],
    "allow_headers": ["authorization", "content-type", "prefer", REQUEST_ID_HEADER],
    "expose_headers": ["retry-after", REQUEST_ID_HEADER],
}


class WatchedApp(Starlette):
    """Starlette within :class:`gateway.watch.Watch`, which is outside of all other middleware."""

    def __init__(self, metrics: Metrics, **options: Any) -> None:
        super().__init__(**options)
        self._metrics = metrics

    def build_middleware_stack(self) -> ASGIApp:
        return Watch(instrument_app(super().build_middleware_stack()), self._metrics)


def middleware(settings: Settings) -> list[Middleware]:
    """From outside to inside: CORS and API keys if the settings name them, and compression.

    Raises:
        gateway.keys.KeysError: the file of API keys cannot be used.
    """
    chain = []
    if origins := [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]:
        # A browser's preliminary request has no key, so this comes before the keys.
        chain.append(Middleware(CORSMiddleware, allow_origins=origins, **CORS))
    if keys := Keys.load(settings):
        chain.append(Middleware(RequireKey, keys=keys))
    return [*chain, Middleware(GZipMiddleware, minimum_size=1000, compresslevel=1)]
