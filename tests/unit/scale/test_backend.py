"""Ray's errors as answers."""

from __future__ import annotations

import json

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from scale.backend import RAY_ERRORS, answer_to, is_lost

UNAVAILABLE = ActorUnavailableError("gone", None)
FAULT = RayTaskError("predict", "Traceback (most recent call last): planted", ValueError("planted"))


@pytest.mark.parametrize("error", [ActorDiedError(), UNAVAILABLE, NodeDiedError("gone"), TaskCancelledError()])
def test_what_died_with_its_replica_is_asked_again(error: Exception):
    assert is_lost(error) and isinstance(error, RAY_ERRORS)
    assert answer_to(error).status == 503


@pytest.mark.parametrize(
    ("error", "status"),
    [(BackPressureError(5, 4), 503), (DeploymentUnavailableError(None), 503), (FAULT, 500)],
)
def test_the_rest_is_answered_at_once(error: Exception, status: int):
    assert not is_lost(error)
    answer = answer_to(error)
    assert answer.status == status and answer.retry == (status == 503)
    assert "planted" not in json.loads(answer.body)["error"]


def test_a_fault_of_the_handler_keeps_its_type_and_is_not_asked_again():
    error = FAULT.as_instanceof_cause()
    assert isinstance(error, ValueError)
    assert not is_lost(error) and answer_to(error).status == 500
