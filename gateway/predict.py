"""``POST /predict``: a request is read, admitted, held while the model is replaced, and answered by the engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

import api.request
from api.answer import Answer, Details, refuse
from api.errors import ErrorCode
from api.headers import EXPLAIN_POOL, POOL, STREAM_TYPE
from api.request import ContractError
from gateway.admission import Addresses, Limiter, read_body
from gateway.backend import Backend
from gateway.formats import decompress, parse
from gateway.hold import Hold
from gateway.middleware import current
from gateway.responses import respond
from gateway.settings import Settings

CLIENT_CLOSED_REQUEST = 499
"""Status of a response that nobody reads (nginx's code), which appears in logs only."""

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", re.IGNORECASE)


class Predict:
    """The endpoint, as an ASGI application.

    Args:
        settings: limits.
        backend: predicts and explains.
        hold: holds requests while the model is replaced.
    """

    def __init__(self, settings: Settings, backend: Backend, hold: Hold) -> None:
        self._settings = settings
        self._backend = backend
        self._hold = hold
        # Connections are counted before they get here, so arriving bodies are bounded by their bytes alone.
        self.bodies = Limiter("photographs", sys.maxsize, settings.queue_bytes)
        self._addresses = Addresses(settings)
        self.limiters = {
            POOL: Limiter("classifications", settings.predict_queue, settings.queue_bytes),
            EXPLAIN_POOL: Limiter("explanations", settings.explain_queue, settings.queue_bytes),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with the documented JSON, also if the gateway stops before there is an answer."""
        reply = Reply(scope, receive, send)
        try:
            answer = await self._answer(Request(scope, receive), reply)
        except ContractError as error:
            answer = refuse(error.status, str(error), error.code)
        except ClientDisconnect:
            if not reply.started:
                await Response(status_code=CLIENT_CLOSED_REQUEST)(scope, receive, send)
            return
        except asyncio.CancelledError:  # by uvicorn, when the time to finish is over
            answer = refuse(503, "the service is being stopped: try again in a moment", ErrorCode.UNAVAILABLE)
        await reply.finish(answer)

    async def _answer(self, request: Request, reply: Reply) -> Answer:
        """Admit a request and ask the engine.

        Raises:
            ContractError: it is refused.
            starlette.requests.ClientDisconnect: nobody waits for the answer.
        """
        with contextlib.ExitStack() as slots:  # free again before the answer is sent, which a client may read slowly
            limiter = self._addresses.limiter(request.client.host if request.client else "")
            of_address = slots.enter_context(limiter.slot())
            with self.bodies.slot() as slot:
                body = await read_body(request, (slot, of_address))
                body = await decompress(body, request.headers.get("content-encoding", ""), (slot, of_address))
                wanted = await run_in_threadpool(parse, request, body)
                # From here on the photograph is held, and its base64 is not.
                size, record = len(wanted.image), current()
                record.pool = EXPLAIN_POOL if wanted.explain else POOL
                if wanted.explain and record.key and record.key.explanations:
                    slots.enter_context(record.key.explanations.slot(size))
                slots.enter_context(self.limiters[record.pool].slot(size))
            reply.streams = wanted.explain and STREAM_TYPE in request.headers.get("accept", "")
            seconds = explain_seconds(request, self._settings)
            return await unless_disconnected(request, self._ask(wanted, seconds, reply))

    async def _ask(self, wanted: api.request.Request, seconds: float, reply: Reply) -> Answer:
        async with self._hold.request():
            if not wanted.explain:
                return await self._backend.predict(wanted, self._settings.predict_seconds)
            # The metrics need the figures in the details, whether or not the client asks for them.
            request = replace(wanted, details=True)
            answer = await self._backend.explain(request, seconds, reply.progress if reply.streams else None)
        return record_explanation(answer, wanted.details)


class Reply:
    """The response to one request: the answer, or lines of progress and the answer as the last line.

    Attributes:
        streams: whether the client gets lines.
        started: whether it has got one.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self.streams = self.started = False

    async def progress(self, share: float) -> None:
        """Send the share of the work that is done, 0 to 1."""
        if not self.started:
            self.started = True
            # Compressed, or buffered by nginx, the lines would arrive together.
            headers = [
                (b"content-type", STREAM_TYPE.encode()),
                (b"content-encoding", b"identity"),
                (b"x-accel-buffering", b"no"),
            ]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        line = json.dumps({"progress": round(share, 3)}).encode() + b"\n"
        await self._send({"type": "http.response.body", "body": line, "more_body": True})

    async def finish(self, answer: Answer) -> None:
        """Send the answer."""
        current().status = answer.status
        if self.started:
            await self._send({"type": "http.response.body", "body": answer.line()})
        else:
            await respond(answer, stream=self.streams)(self._scope, self._receive, self._send)


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
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


class _Explained(Struct, frozen=True):
    """An :class:`api.answer.Prediction` of which only the details are decoded: the picture is long."""

    success: bool
    prediction: str
    probability: msgspec.Raw
    explain: msgspec.Raw
    details: Details | UnsetType = UNSET


_explained = msgspec.json.Decoder(_Explained)


def record_explanation(answer: Answer, details: bool) -> Answer:
    """Record the figures of an explanation; returns the answer, without its details unless they are wanted."""
    try:
        prediction = _explained.decode(answer.body)
    except msgspec.DecodeError:  # a failure, or the answer of another version
        return answer
    if prediction.details:
        current().explanation = prediction.details.explanation
    if details:
        return answer
    return replace(answer, body=msgspec.json.encode(msgspec.structs.replace(prediction, details=UNSET)))
