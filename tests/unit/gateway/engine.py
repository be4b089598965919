"""The gateway in front of an engine that a test controls."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence

from starlette.testclient import TestClient

from api.answer import Answer, Prediction, refuse, succeed
from api.photograph import ImageError, open_photograph
from api.request import Request
from gateway.app import create_app
from gateway.backend import OnProgress
from gateway.settings import Settings
from tests.answers import EXPLAINED

BODY = {"image": base64.b64encode(b"photograph").decode()}
DONE = succeed(Prediction(prediction="Melanoma", probability=0.5))


class Engine:
    """A :class:`gateway.backend.Backend` that gives the same answer to every request, or raises the same error.

    Attributes:
        asked: the requests that it got.
        answers: it answers when this is set.
        cancelled: the requests that were cancelled while it worked on them.
    """

    def __init__(self, answer: Answer | Exception | None = None, progress: Sequence[float] = (0.5,)) -> None:
        self.asked: list[Request] = []
        self.cancelled: list[Request] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self._answer = answer
        self._progress = progress

    async def predict(self, request: Request, seconds: float) -> Answer:
        return await self._finish(request, DONE)

    async def explain(self, request: Request, seconds: float, on_progress: OnProgress | None = None) -> Answer:
        for share in self._progress if on_progress else ():
            await on_progress(share)
        return await self._finish(request, succeed(EXPLAINED))

    async def _finish(self, request: Request, usual: Answer) -> Answer:
        self.asked.append(request)
        try:
            await self.answers.wait()
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer or usual

    async def metrics(self) -> bytes:
        return b""

    async def close(self) -> None:
        pass


class Decoder(Engine):
    """Answers as the handler does: a photograph that cannot be decoded is refused."""

    async def _finish(self, request: Request, usual: Answer) -> Answer:
        try:
            await asyncio.to_thread(open_photograph, request.image)
        except ImageError as error:
            return refuse(400, str(error), error.code)
        return usual


def gateway(engine: Engine | None = None, **settings) -> TestClient:
    return TestClient(create_app(Settings(**settings), engine or Engine()), raise_server_exceptions=False)
