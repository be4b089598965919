"""Requests to the replicas: sent again where one is lost, and answered whatever happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from api.answer import Answer
from api.headers import EXPLAIN_POOL, POOL
from gateway.backend import PROBE
from scale import backend
from scale.backend import ATTEMPTS, RAY_ERRORS, RayServe, answer_to, is_lost

LOST = [ActorDiedError(), ActorUnavailableError("gone", None), NodeDiedError("gone"), TaskCancelledError()]
FAULT = RayTaskError("predict", "Traceback (most recent call last): planted", ValueError("planted"))
FULL, NONE_LEFT = BackPressureError(5, 4), DeploymentUnavailableError(None)


@pytest.mark.parametrize(
    ("error", "lost", "status"),
    [
        *((error, True, 503) for error in LOST),
        (FULL, False, 503),
        (NONE_LEFT, False, 503),
        (FAULT, False, 500),
        (FAULT.as_instanceof_cause(), False, 500),
    ],
)
def test_only_what_was_lost_with_its_replica_is_sent_to_another(error: Exception, lost: bool, status: int):
    assert isinstance(error, RAY_ERRORS) and is_lost(error) == lost
    answer = answer_to(error)
    assert answer.status == status and (answer.retry_after is not None) == (status == 503)
    assert "planted" not in json.loads(answer.body)["error"]


class Replicas:
    """In place of a handle: each request meets the next of ``fates``, which are answers, shares and errors."""

    def __init__(self, *fates: list[float | Answer | Exception]) -> None:
        self.fates, self.cancelled = list(fates), 0

    def options(self, **_: object) -> Replicas:
        return self

    def remote(self, *_: object) -> Replicas:
        self.fate = self.fates.pop(0)
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def __await__(self):
        return anext(aiter(self)).__await__()

    async def __aiter__(self) -> AsyncIterator[float | Answer]:
        for part in self.fate:
            if isinstance(part, Exception):
                raise part
            yield part
        await asyncio.sleep(60)


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch):
    """Sends the probe, for 0.2 seconds, and returns the answer's status, the progress and the metrics."""
    monkeypatch.setattr(backend, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(backend, "GRACE_SECONDS", 0)

    async def run(explain: bool, replicas: Replicas) -> tuple[int, list[float], str]:
        engine, shares = RayServe({POOL: replicas, EXPLAIN_POOL: replicas}), []

        async def on_progress(share: float) -> None:
            shares.append(share)

        answer = await (engine.explain(PROBE, 0.2, on_progress) if explain else engine.predict(PROBE, 0.2))
        return answer.status, shares, (await engine.metrics()).decode()

    return lambda explain, replicas: asyncio.run(run(explain, replicas))


OK = Answer(200, b"{}")


@pytest.mark.parametrize("explain", [False, True])
def test_a_request_whose_replica_is_lost_is_sent_to_another(send, explain: bool):
    status, _, metrics = send(explain, Replicas([LOST[0]], [LOST[1]], [OK]))
    assert status == 200 and f'pool="{EXPLAIN_POOL if explain else POOL}"}} 2' in metrics
    assert send(explain, Replicas(*[[LOST[0]]] * ATTEMPTS, [OK]))[0] == 503
    assert send(explain, Replicas([FAULT], [OK]))[0] == 500


def test_progress_never_goes_backwards(send):
    assert send(True, Replicas([0.0, 0.4, LOST[0]], [0.0, 0.3, 0.5, OK]))[:2] == (200, [0.0, 0.4, 0.5])


@pytest.mark.parametrize("explain", [False, True])
def test_what_takes_too_long_is_cancelled(send, explain: bool):
    replicas = Replicas([0.0] if explain else [])
    assert send(explain, replicas)[0] == 504 and replicas.cancelled == 1
