"""The whole service as one application of Ray Serve, for whoever deploys config files: KubeRay, ``serve deploy``.

Unlike :mod:`cluster.main`, the gateway is a deployment, too, behind Ray Serve's own HTTP proxies.
``deploy/kubernetes/ray`` holds such a file.
"""

from __future__ import annotations

import logging.config
from pathlib import Path
from typing import Annotated, Any

import msgspec
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette

from api.archive import ARCHIVE
from api.headers import EXPLAIN_POOL, POOL
from cluster.archive import Archive
from cluster.backend import RayServe
from cluster.deployment import REPLICAS
from cluster.plan import CPUS, POOLS, Plan
from gateway import traces
from gateway.app import create_app
from gateway.backend import GRACE_SECONDS
from gateway.server import log_config
from gateway.settings import Settings
from supervisor.processes import ROOT

GATEWAY = "gateway"
PROBES = 16
"""Requests of ``/readyz``, ``/metrics`` and so on that a gateway has room for beside its queues."""


Number = Annotated[int, msgspec.Meta(ge=1)]


class Arguments(msgspec.Struct, forbid_unknown_fields=True):
    """``args`` of the config file. The gateway's settings come from the environment of Ray's nodes, as ``MLBIO_…``."""

    archive: str = str(ROOT / "model_store" / ARCHIVE)
    """At this path on every node."""
    min_replicas: Number = 1
    """Of the gateway and of each pool, always."""
    max_replicas: Number = 1
    """Of each pool, when its queue is long. A node has one of each pool at most: it uses all cores."""


def service(args: dict[str, Any]) -> serve.Application:
    """The application that the config file's ``import_path`` names; ``args`` are :class:`Arguments`.

    Raises:
        msgspec.ValidationError: ``args`` has other names or types.
        api.archive.ArchiveError: there is no archive.
        cluster.plan.PlanError: the numbers of replicas make no sense.
    """
    arguments = msgspec.convert(args, Arguments)
    settings = Settings.from_environment()
    plan = Plan.for_nodes(1, settings, arguments.min_replicas, arguments.max_replicas)
    archive = Archive.at(Path(arguments.archive))
    pools = [deployment(REPLICAS[pool], **plan.options(pool)).bind(archive) for pool in POOLS]
    made: serve.Application = deployment(
        serve.ingress()(Gateway),
        name=GATEWAY,
        num_replicas=plan.least,
        ray_actor_options={"num_cpus": CPUS},
        # It has queues of its own, and refuses with the contract's words before this many are there.
        max_ongoing_requests=settings.predict_queue + settings.explain_queue + PROBES,
        graceful_shutdown_timeout_s=settings.explain_seconds + GRACE_SECONDS,
    ).bind(*pools)
    return made


def deployment(replica: type, **options: Any) -> Any:
    """A deployment with one replica a node at most."""
    return serve.deployment(replica, max_replicas_per_node=1, **options)


class Gateway:
    """The gateway's ASGI application in a replica."""

    def __init__(self, predict: DeploymentHandle, explain: DeploymentHandle) -> None:
        self._handles = {POOL: predict, EXPLAIN_POOL: explain}

    def __serve_build_asgi_app__(self) -> Starlette:
        """Called by Ray Serve."""
        settings = Settings.from_environment()
        logging.config.dictConfig(log_config(settings))
        traces.configure()
        return create_app(settings, RayServe(settings, self._handles))
