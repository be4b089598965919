"""TorchServe's inference API as the gateway uses it: which pool to ask, and what its own errors mean."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator

import httpx

from gateway.settings import Settings
from handler.contract import Answer, refuse
from handler.jobs import CANCEL_HEADER, EXPLAIN_POOL, JOB_HEADER, POOL, STREAM_TYPE, UNTIL_HEADER

RETRY_SECONDS = 5
"""What ``Retry-After`` says: a worker that died is back in about that time."""

GRACE_SECONDS = 10
"""An explanation that has reached its deadline is on its way; so long it is waited for."""


class TorchServe:
    """A client of TorchServe's inference API. Every call has a time limit; every failure becomes an answer."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=20)
        self.explaining = 0
        self.cancelling: set[asyncio.Task] = set()
        self.client = httpx.AsyncClient(base_url=settings.torchserve_url, limits=limits, trust_env=False)

    async def close(self) -> None:
        await self.client.aclose()

    async def predict(self, body: bytes) -> Answer:
        """Pass a checked request's JSON on, for a diagnosis only."""
        return await self.ask(POOL, body, self.settings.predict_seconds)

    async def explain(self, body: bytes, seconds: float, stream: bool) -> AsyncIterator[bytes | Answer]:
        """Pass a checked request's JSON on, for an explanation within ``seconds``.

        Yields lines of progress if ``stream``, and the answer at last. Leaving early (closing the generator, or
        cancelling its task) ends the work in TorchServe, too.
        """
        if self.explaining >= self.settings.explain_queue:
            yield refuse(503, "too many explanations are waiting: try again in a moment")
            return
        job, answered = uuid.uuid4().hex, False
        headers = {JOB_HEADER: job, UNTIL_HEADER: f"{time.time() + seconds:.3f}"}
        headers |= {"accept": STREAM_TYPE} if stream else {}
        self.explaining += 1
        try:
            for pool in (EXPLAIN_POOL, POOL):  # `torchserve --start --models mlbio.mar` has one, which explains as well
                async with contextlib.aclosing(self._lines(pool, body, headers, seconds + GRACE_SECONDS)) as parts:
                    async for part in parts:
                        if isinstance(part, Answer):
                            answered = part.status != 504
                            if pool == EXPLAIN_POOL and part.status == 404:
                                break
                        yield part
                    else:
                        return
        finally:
            self.explaining -= 1
            if not answered:
                task = asyncio.create_task(self._cancel(job))
                self.cancelling.add(task)
                task.add_done_callback(self.cancelling.discard)

    async def _cancel(self, job: str) -> None:
        """Leave word that nobody waits for ``job``; nothing is lost if that fails, but time."""
        with contextlib.suppress(httpx.HTTPError):
            await self.client.post(f"/predictions/{POOL}", content=b"", headers={CANCEL_HEADER: job}, timeout=5)

    async def _lines(
        self, pool: str, body: bytes, headers: dict[str, str], seconds: float
    ) -> AsyncIterator[bytes | Answer]:
        """The lines of one pool's answer; the last one, or all of what is no answer of ours, as an answer."""
        try:
            async with self.client.stream("POST", **_request(pool, body, seconds, headers)) as response:
                if response.status_code != 200:
                    yield _answer(response.status_code, await response.aread())
                    return
                rest = b""
                async for part in response.aiter_bytes():
                    *whole, rest = (rest + part).split(b"\n")
                    for line in whole:
                        if not line.startswith(_PROGRESS):
                            rest = line  # the answer, which is the last
                            break
                        yield line + b"\n"
                yield _answer(200, rest)
        except httpx.HTTPError as error:
            yield _failure(error, seconds)

    async def ask(self, pool: str, body: bytes, seconds: float) -> Answer:
        """The answer of one pool to a request's JSON, within ``seconds``."""
        try:
            response = await self.client.post(**_request(pool, body, seconds, {}))
        except httpx.HTTPError as error:
            return _failure(error, seconds)
        return _answer(response.status_code, response.content)


_PROGRESS = b'{"progress"'


def _request(pool: str, body: bytes, seconds: float, headers: dict[str, str]) -> dict:
    return {
        "url": f"/predictions/{pool}",
        "content": body,
        # Not application/json: TorchServe would parse it, and only then we.
        "headers": {"content-type": "application/octet-stream"} | headers,
        "timeout": httpx.Timeout(seconds, connect=5),
    }


def _failure(error: httpx.HTTPError, seconds: float) -> Answer:
    if isinstance(error, httpx.ConnectError):
        return refuse(503, "the model server is not running or still starting: try again in a moment")
    if isinstance(error, httpx.TimeoutException):
        return refuse(504, f"no answer within {seconds:g} seconds: the service is too busy, try again later")
    return refuse(503, "the model server broke off while it worked on this: try again")


def _answer(status: int, body: bytes) -> Answer:
    """Our handler's answer as it is; TorchServe's own errors in our words."""
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    ours = isinstance(content, dict) and "success" in content
    return Answer(status, body.rstrip(b"\n")) if ours else _translate(status)


def _translate(status: int) -> Answer:
    """TorchServe's own errors, whose bodies are not of the documented form."""
    if status == 404:
        return refuse(404, "the model server has no model of that name: start it with mlbio.mar")
    if status == 413:
        return refuse(413, "the photograph is too large: make it smaller")
    if status in (408, 504):
        return refuse(504, "the model server ran out of time: try again later")
    if status == 503:
        return refuse(503, "the service is full or its model is still loading: try again in a moment")
    if status in (500, 507):  # a worker that died or ran out of memory; TorchServe starts another
        return refuse(503, "the model stopped while it worked on this and is being restarted: try again")
    return refuse(502, f"the model server answered {status}, which was not expected: see its log")
