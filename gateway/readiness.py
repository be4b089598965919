"""Whether the service can predict, found out by predicting."""

from __future__ import annotations

import asyncio
import base64
import time

from api.openapi import PIXEL
from api.request import Request
from gateway.backend import Backend

PROBE = Request(base64.b64decode(PIXEL))
"""A photograph of one pixel."""

PROBE_SECONDS = 10.0
"""Time limit of a probe."""

CACHE_SECONDS = 1.0
"""How long a result holds, good or bad, so that frequent health checks do not become load."""


class Readiness:
    """Probes the engine at most once per :data:`CACHE_SECONDS`, however many callers ask."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = asyncio.Lock()
        self._ready, self._expires = False, 0.0

    async def check(self) -> bool:
        """Whether a prediction works."""
        async with self._lock:
            if time.monotonic() >= self._expires:
                answer = await self._backend.predict(PROBE, PROBE_SECONDS)
                self._ready, self._expires = answer.status == 200, time.monotonic() + CACHE_SECONDS
            return self._ready
