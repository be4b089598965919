"""Ray Serve as the gateway's engine. A request whose replica or node dies is asked again of another one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from api.answer import Answer
from api.deadline import Deadline
from api.headers import DEADLINE_HEADER, EXPIRY_HEADER, EXPLAIN_POOL, JOB_HEADER, POOL, REQUEST_ID_HEADER, STREAM_TYPE
from api.request import Request
from cluster.calls import Call
from cluster.failures import RAY_ERRORS, answer_to, is_lost
from cluster.plan import POOLS
from gateway.backend import GRACE_SECONDS, OnProgress, out_of_time
from gateway.middleware import current
from gateway.settings import Settings

logger = logging.getLogger("mlbio.cluster")

ATTEMPTS = 4
"""Replicas that one request is tried on: a photograph that ends whatever it meets must not end them all."""

PAUSE_SECONDS = 0.25
"""Before the second attempt; twice as long before each further one."""

METRICS_SECONDS = 2.0


class RayServe:
    """:class:`gateway.backend.Backend` for the two pools.

    Args:
        settings: of the gateway.
        handles: of the pools' deployments; those of :mod:`cluster.deployment`, which must run, unless given.
    """

    def __init__(self, settings: Settings, handles: Mapping[str, DeploymentHandle] | None = None) -> None:
        self.settings = settings
        self._retries = dict.fromkeys(POOLS, 0)
        handles = handles or {pool: serve.get_app_handle(pool) for pool in POOLS}
        self._predict = handles[POOL].options(method_name="predict")
        self._explain: Any = handles[EXPLAIN_POOL].options(method_name="explain", stream=True)

    async def close(self) -> None:
        """Nothing to do: whoever deployed the replicas withdraws them."""

    async def predict(self, request: Request, seconds: float) -> Answer:
        """A diagnosis without an explanation, within ``seconds``."""
        call = Call(request, _headers(seconds))
        try:
            async with asyncio.timeout(seconds):
                for attempt in range(ATTEMPTS):
                    await _pause(attempt)
                    response = self._predict.remote(call)
                    try:
                        answer: Answer = await response
                        return answer
                    except RAY_ERRORS as error:
                        if not self._retry(POOL, attempt, error):
                            return answer_to(error)
                    except asyncio.CancelledError:  # out of time, or the client has left
                        response.cancel()
                        raise
        except TimeoutError:
            return out_of_time(seconds)
        raise AssertionError("the last attempt answers")

    async def explain(self, request: Request, seconds: float, on_progress: OnProgress | None = None) -> Answer:
        """A diagnosis and its explanation, which after ``seconds`` is the best so far.

        A request that starts again on another replica reports no progress until it is further than before.
        """
        patience = seconds + GRACE_SECONDS
        headers = _headers(patience) | {
            JOB_HEADER: uuid.uuid4().hex,
            DEADLINE_HEADER: Deadline.after(seconds).to_header(),
            **({"accept": STREAM_TYPE} if on_progress else {}),
        }
        call = Call(request, headers)
        furthest = -1.0
        try:
            async with asyncio.timeout(patience):
                for attempt in range(ATTEMPTS):
                    await _pause(attempt)
                    response = self._explain.remote(call)
                    try:
                        async for part in response:
                            if isinstance(part, Answer):
                                return part
                            if on_progress and part > furthest:
                                furthest = part
                                await on_progress(part)
                    except RAY_ERRORS as error:
                        if not self._retry(EXPLAIN_POOL, attempt, error):
                            return answer_to(error)
                    except asyncio.CancelledError:  # out of time, or the client has left
                        response.cancel()
                        raise
        except TimeoutError:
            return out_of_time(patience)
        raise AssertionError("the last attempt answers")

    async def metrics(self) -> bytes:
        """How many replicas each pool has in each state, and how often a request was asked again."""
        lines = ["# TYPE mlbio_cluster_retries_total counter"]
        lines += [f'mlbio_cluster_retries_total{{pool="{pool}"}} {count}' for pool, count in self._retries.items()]
        with contextlib.suppress(TimeoutError, *RAY_ERRORS):
            async with asyncio.timeout(METRICS_SECONDS):
                replicas = await asyncio.to_thread(replicas_by_state)
            lines.append("# TYPE mlbio_cluster_replicas gauge")
            for pool, states in replicas.items():
                lines += [
                    f'mlbio_cluster_replicas{{pool="{pool}",state="{state.lower()}"}} {count}'
                    for state, count in states.items()
                ]
        return "".join(f"{line}\n" for line in lines).encode()

    def _retry(self, pool: str, attempt: int, error: Exception) -> bool:
        """Whether to ask another replica; notes that it is done."""
        if not is_lost(error) or attempt + 1 >= ATTEMPTS:
            logger.warning("a request of %s failed: %r", pool, error)
            return False
        logger.warning("a request of %s lost its replica (%s): asked again", pool, type(error).__name__)
        self._retries[pool] += 1
        return True


def replicas_by_state() -> dict[str, dict[str, int]]:
    """For each pool, the number of its replicas in each of Ray Serve's states."""
    return {
        pool: {str(getattr(state, "value", state)): count for state, count in deployment.replica_states.items()}
        for application in serve.status().applications.values()
        for pool, deployment in application.deployments.items()
        if pool in POOLS
    }


async def _pause(attempt: int) -> None:
    if attempt:
        await asyncio.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))


def _headers(seconds: float) -> dict[str, Any]:
    return {EXPIRY_HEADER: Deadline.after(seconds).to_header(), REQUEST_ID_HEADER: current().id}
