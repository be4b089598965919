"""Ray Serve as the gateway's engine.

Ray Serve does not retry requests whose replica or node dies, so this module sends them to another replica.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from api.answer import Answer, refuse
from api.deadline import Deadline
from api.headers import DEADLINE_HEADER, EXPIRY_HEADER, EXPLAIN_POOL, JOB_HEADER, POOL, REQUEST_ID_HEADER, STREAM_TYPE
from api.request import Request
from gateway.backend import FULL, GRACE_SECONDS, LOST, OnProgress, out_of_time
from gateway.middleware import current

logger = logging.getLogger("mlbio.scale")

POOLS = (POOL, EXPLAIN_POOL)

ATTEMPTS = 4
"""Maximum number of attempts: a photograph that crashes one replica must not crash all of them."""

PAUSE_SECONDS = 0.25
"""Before the second attempt; doubled before each further one."""

RAY_ERRORS = (RayError, RayServeException)
"""Exceptions of a call, apart from timeouts."""


class RayServe:
    """:class:`gateway.backend.Backend` for the two pools.

    Args:
        handles: of the pools' deployments.
    """

    def __init__(self, handles: Mapping[str, DeploymentHandle]) -> None:
        self._retries = dict.fromkeys(POOLS, 0)
        self._predict = handles[POOL].options(method_name="predict")
        self._explain: Any = handles[EXPLAIN_POOL].options(method_name="explain", stream=True)

    async def close(self) -> None:
        """Nothing to do: Ray Serve stops the replicas."""

    async def predict(self, request: Request, seconds: float) -> Answer:
        """A diagnosis without an explanation, within ``seconds``."""
        headers = _headers(seconds)

        async def receive(response: Any) -> Answer:
            answer: Answer = await response
            return answer

        return await self._send(POOL, seconds, lambda: self._predict.remote((request, headers)), receive)

    async def explain(self, request: Request, seconds: float, on_progress: OnProgress | None = None) -> Answer:
        """A diagnosis and the best explanation within ``seconds``.

        After a retry, progress is reported only once it exceeds that of earlier attempts.
        """
        timeout = seconds + GRACE_SECONDS
        headers = _headers(timeout) | {
            JOB_HEADER: uuid.uuid4().hex,
            DEADLINE_HEADER: Deadline.after(seconds).to_header(),
            **({"accept": STREAM_TYPE} if on_progress else {}),
        }
        furthest = -1.0

        async def receive(response: Any) -> Answer:
            nonlocal furthest
            async for part in response:
                if isinstance(part, Answer):
                    return part
                if on_progress and part > furthest:
                    furthest = part
                    await on_progress(part)
            raise AssertionError("the last part is the answer")

        return await self._send(EXPLAIN_POOL, timeout, lambda: self._explain.remote(request, headers), receive)

    async def _send(
        self, pool: str, seconds: float, call: Callable[[], Any], receive: Callable[[Any], Awaitable[Answer]]
    ) -> Answer:
        """The result of ``receive`` for the response to ``call``, which is retried if its replica is lost."""
        try:
            async with asyncio.timeout(seconds):
                for attempt in range(ATTEMPTS):
                    response = call()
                    try:
                        return await receive(response)
                    except RAY_ERRORS as error:
                        if not is_lost(error) or attempt + 1 == ATTEMPTS:
                            logger.warning("a request of %s failed: %r", pool, error)
                            return answer_to(error)
                        logger.warning("a request of %s is sent to another replica: %s", pool, type(error).__name__)
                        self._retries[pool] += 1
                        await asyncio.sleep(PAUSE_SECONDS * 2**attempt)
                    except asyncio.CancelledError:  # out of time, or the client has left
                        response.cancel()
                        raise
        except TimeoutError:
            return out_of_time(seconds)
        raise AssertionError("the last attempt answers")

    async def metrics(self) -> bytes:
        """The number of retries; Ray exports its own metrics."""
        lines = ["# TYPE mlbio_cluster_retries_total counter"]
        lines += [f'mlbio_cluster_retries_total{{pool="{pool}"}} {count}' for pool, count in self._retries.items()]
        return "".join(f"{line}\n" for line in lines).encode()


def _headers(seconds: float) -> dict[str, Any]:
    return {EXPIRY_HEADER: Deadline.after(seconds).to_header(), REQUEST_ID_HEADER: current().id}


def is_lost(error: Exception) -> bool:
    """Whether the request was lost with its replica or node. Requests are idempotent and can be retried."""
    lost = (RayActorError, NodeDiedError, WorkerCrashedError, ObjectLostError, TaskCancelledError)
    return isinstance(error, lost) and not isinstance(error, BackPressureError)


def answer_to(error: Exception) -> Answer:
    """The answer to a request that failed with one of :data:`RAY_ERRORS`."""
    if isinstance(error, BackPressureError):
        return refuse(503, FULL)
    if is_lost(error):
        return refuse(503, LOST)
    if isinstance(error, RayTaskError):
        return refuse(500, "the model failed, which was not expected: see the replica's log")
    return refuse(503, "the cluster could not answer: try again in a moment")
