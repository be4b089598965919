"""The interface of an engine that predicts and explains (:mod:`gateway.torchserve`, or another), and its readiness."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from api.answer import Answer, refuse
from api.openapi import PIXEL
from api.request import Request
from gateway.settings import Settings

GRACE_SECONDS = 10.0
"""Seconds to wait beyond an explanation's deadline, for its last batch and the answer."""


class Backend(Protocol):
    """An engine. Every call has a time limit; every failure becomes an answer of the contract."""

    async def predict(self, request: Request, seconds: float | None = None) -> Answer:
        """A diagnosis without an explanation, within ``seconds`` (the settings' limit unless given)."""

    def explain(self, request: Request, seconds: float, stream: bool) -> AsyncGenerator[bytes | Answer]:
        """A diagnosis and its explanation within ``seconds``.

        Yields lines of progress if ``stream``, and finally the answer. Closing the generator early, or cancelling its
        task, cancels the work.
        """

    async def metrics(self) -> bytes:
        """The engine's own metrics in Prometheus' text format; empty if they are not available."""

    async def close(self) -> None:
        """Release what the engine holds, after pending cancellations."""


MakeBackend = Callable[[Settings], Backend]
"""Called once, in the event loop that the gateway runs in."""


def out_of_time(seconds: float) -> Answer:
    """The answer to a request that timed out."""
    return refuse(504, f"no answer within {seconds:g} seconds: the service is too busy, try again later")


FULL = "the service is full or its model is still loading: try again in a moment"
LOST = "the model stopped while it worked on this and is being restarted: try again"

PROBE = Request(base64.b64decode(PIXEL))
"""A photograph of one pixel."""

PROBE_SECONDS = 10.0
"""Time limit of a probe."""

CACHE_SECONDS = 1.0
"""How long a result is reused, good or bad, so that frequent health checks are no load."""


class Readiness:
    """Whether the engine can predict, found out at most once per :data:`CACHE_SECONDS`."""

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
