"""Deploying a version, updating to another one, and withdrawing them."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from ray import serve
from ray.serve.config import ProxyLocation

from cluster.archive import Archive
from cluster.plan import POOLS, Plan
from cluster.replicas import Classifications, Explanations

REPLICAS = dict(zip(POOLS, (Classifications, Explanations), strict=True))


class DeploymentError(RuntimeError):
    """The replicas do not run. The message says what to do."""


def live_nodes() -> int:
    """Nodes of the cluster that are alive."""
    return sum(bool(node["Alive"]) for node in ray.nodes())


def is_running() -> bool:
    """Whether both pools have been deployed."""
    return set(POOLS) <= set(serve.status().applications)


def deploy(archive: Archive, plan: Plan) -> None:
    """Run ``archive`` in both pools, and return when it predicts there.

    If other versions run, they are replaced: each replica goes on until one of this version is ready, takes no new
    requests then, and finishes those that it has.

    Raises:
        DeploymentError: the replicas do not start. What ran before goes on, in whole or in part.
    """
    # The gateway is the door: Ray Serve opens none of its own.
    serve.start(proxy_location=ProxyLocation.Disabled)
    # What concerns a request is in the gateway's log.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    targets = []
    for pool, replica in REPLICAS.items():
        deployment: Any = serve.deployment(replica, **plan.options(pool))
        targets.append(serve.RunTarget(deployment.bind(archive), name=pool, route_prefix=None))
    try:
        serve.run_many(targets)
    except RuntimeError as error:
        raise DeploymentError(f"the replicas do not start: {_reason(error)}") from None


def withdraw() -> None:
    """Stop all replicas, after the requests that they have."""
    with ThreadPoolExecutor() as both:
        list(both.map(serve.delete, POOLS))


def _reason(error: Exception) -> str:
    """The last line of what Ray says, which is a replica's exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error: " in line), lines[-1] if lines else repr(error))
