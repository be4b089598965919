"""What the gateway needs of an engine that predicts and explains: :mod:`gateway.torchserve`, or another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from api.answer import Answer, refuse
from api.request import Request
from gateway.settings import Settings

GRACE_SECONDS = 10.0
"""Seconds to wait past an explanation's deadline: its last batch and the answer are on their way."""


class Backend(Protocol):
    """An engine. Every call has a time limit; every failure becomes an answer of the contract."""

    async def predict(self, request: Request, seconds: float | None = None) -> Answer:
        """A diagnosis without an explanation, within ``seconds`` (the settings' limit unless given)."""

    def explain(self, request: Request, seconds: float, stream: bool) -> AsyncGenerator[bytes | Answer]:
        """A diagnosis and its explanation within ``seconds``.

        Yields lines of progress if ``stream``, and finally the answer. Leaving early (closing the generator, or
        cancelling its task) cancels the work.
        """

    async def metrics(self) -> bytes:
        """The engine's own figures in Prometheus' text format; nothing if they cannot be had."""

    async def close(self) -> None:
        """Let go of the engine, after cancellations that are on their way."""


MakeBackend = Callable[[Settings], Backend]
"""Called once, in the event loop that the gateway runs in."""


def out_of_time(seconds: float) -> Answer:
    """The answer to a request whose time is over."""
    return refuse(504, f"no answer within {seconds:g} seconds: the service is too busy, try again later")


FULL = "the service is full or its model is still loading: try again in a moment"
LOST = "the model stopped while it worked on this and is being restarted: try again"
