"""What Ray's errors mean for a request: try another replica, or an answer of the contract."""

from __future__ import annotations

from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from api.answer import Answer, refuse
from gateway.backend import FULL, LOST

RAY_ERRORS = (RayError, RayServeException)
"""All that a call may raise, beside a timeout."""

_LOST = (RayActorError, NodeDiedError, WorkerCrashedError, ObjectLostError, TaskCancelledError)


def is_lost(error: Exception) -> bool:
    """Whether the replica or its node went away with the request, which another replica can answer.

    A photograph's answer does not depend on what was asked before, so asking twice does no harm.
    """
    return isinstance(error, _LOST) and not isinstance(error, BackPressureError)


def answer_to(error: Exception) -> Answer:
    """The answer to a request that failed with one of :data:`RAY_ERRORS`."""
    if isinstance(error, BackPressureError):
        return refuse(503, FULL)
    if isinstance(error, DeploymentUnavailableError):
        return refuse(503, "no model can be started at present: try again in a moment")
    if isinstance(error, LocalRayletDiedError):
        return refuse(503, "the gateway has lost its cluster: try again in a moment")
    if is_lost(error):
        return refuse(503, LOST)
    if isinstance(error, RayTaskError):
        return refuse(500, "the model failed, which was not expected: see the replica's log")
    return refuse(503, "the cluster could not answer: try again in a moment")
