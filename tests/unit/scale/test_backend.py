"""Ray's errors as answers."""

from __future__ import annotations

import json

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from scale.backend import RAY_ERRORS, answer_to, is_lost

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
    assert answer.status == status and answer.retry == (status == 503)
    assert "planted" not in json.loads(answer.body)["error"]
