"""The interface of an engine that predicts and explains (:mod:`gateway.torchserve`, or another), and its readiness."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from api.answer import Answer, refuse
from api.openapi import SAMPLE
from api.request import Request

GRACE_SECONDS = 10.0
"""Seconds to wait beyond an explanation's deadline, for its last batch and the answer."""

OnProgress = Callable[[float], Awaitable[None]]
"""Called with the share of an explanation that is done, 0 to 1."""


class Backend(Protocol):
    """An engine. Every call has a time limit; every failure becomes an answer of the contract. Cancelling a call's task
    cancels its work."""

    async def predict(self, request: Request, seconds: float) -> Answer:
        """A diagnosis without an explanation, within ``seconds``."""

    async def explain(self, request: Request, seconds: float, on_progress: OnProgress | None = None) -> Answer:
        """A diagnosis and its explanation, which after ``seconds`` is the best so far."""

    async def metrics(self) -> bytes:
        """The engine's own metrics in Prometheus' text format; empty if they are not available."""

    async def close(self) -> None:
        """Release what the engine holds, after pending cancellations."""


def out_of_time(seconds: float) -> Answer:
    """The answer to a request that timed out."""
    return refuse(504, f"no answer within {seconds:g} seconds: the service is too busy, try again later")


FULL = "the service is full or its model is still loading: try again in a moment"
LOST = "the model stopped while it worked on this and is being restarted: try again"

PROBE = Request(base64.b64decode(SAMPLE))
"""A small grey photograph."""

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
