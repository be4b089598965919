"""TorchServe's inference API as the gateway uses it: which pool to ask, and what its own errors mean."""

from __future__ import annotations

import json

import httpx

from gateway.settings import Settings
from handler.contract import Answer, refuse

POOL, EXPLAIN_POOL = "mlbio", "mlbio_explain"

RETRY_SECONDS = 5
"""What ``Retry-After`` says: a worker that died is back in about that time."""


class TorchServe:
    """A client of TorchServe's inference API. Every call has a time limit; every failure becomes an answer."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=20)
        self.explaining = 0
        self.client = httpx.AsyncClient(base_url=settings.torchserve_url, limits=limits, trust_env=False)

    async def close(self) -> None:
        await self.client.aclose()

    async def predict(self, body: bytes, explain: bool) -> Answer:
        """Pass a checked request's JSON on: to the explanation pool if it asks for one and that pool exists."""
        if not explain:
            return await self.ask(POOL, body, self.settings.predict_seconds)
        if self.explaining >= self.settings.explain_queue:
            return refuse(503, "too many explanations are waiting: try again in a moment")
        self.explaining += 1
        try:
            answer = await self.ask(EXPLAIN_POOL, body, self.settings.explain_seconds)
            # `torchserve --start --models mlbio.mar` has one pool, which explains as well.
            return await self.ask(POOL, body, self.settings.explain_seconds) if answer.status == 404 else answer
        finally:
            self.explaining -= 1

    async def ask(self, pool: str, body: bytes, seconds: float) -> Answer:
        """The answer of one pool to a request's JSON, within ``seconds``."""
        try:
            response = await self.client.post(
                f"/predictions/{pool}",
                content=body,
                # Not application/json: TorchServe would parse it, and only then we.
                headers={"content-type": "application/octet-stream"},
                timeout=httpx.Timeout(seconds, connect=5),
            )
        except httpx.ConnectError:
            return refuse(503, "the model server is not running or still starting: try again in a moment")
        except httpx.TimeoutException:
            return refuse(504, f"no answer within {seconds:g} seconds: the service is too busy, try again later")
        except httpx.HTTPError:
            return refuse(503, "the model server broke off while it worked on this: try again")
        if _is_ours(response):
            return Answer(response.status_code, response.content)
        return _translate(response.status_code)


def _is_ours(response: httpx.Response) -> bool:
    """Did our handler write this, or TorchServe itself?"""
    try:
        content = json.loads(response.content)
    except ValueError:
        return False
    return isinstance(content, dict) and "success" in content


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
