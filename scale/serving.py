"""The service as one application of Ray Serve: the gateway and both pools of replicas.

    serve run deploy/ray.yaml

deploys it; that file's ``args`` are :class:`Arguments`. The gateway is a deployment like the pools, behind Ray Serve's
HTTP proxies.
"""

from __future__ import annotations

import logging.config
from pathlib import Path
from typing import Annotated, Any

import msgspec
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.archive import ARCHIVE
from api.headers import EXPLAIN_POOL, POOL, REQUEST_ID_HEADER
from gateway import traces
from gateway.app import create_app
from gateway.backend import GRACE_SECONDS
from gateway.server import log_config
from gateway.settings import Settings
from scale.archive import Archive
from scale.backend import RayServe
from scale.replicas import BATCH, ExplainReplica, PredictReplica
from supervisor.processes import ROOT

GATEWAY = "gateway"

CPUS = 0.15
"""Logical CPUs per replica. A node with one CPU fits the gateway and both pools twice, as an update needs. A replica is
not limited to them, and uses all cores of its node."""

HEAD = {"node:__internal_head__": 0.001}
"""A resource that only Ray's head node has."""

EXTRA_REQUESTS = 16
"""Requests that Ray admits beyond the gateway's queues, so that the gateway answers when they are full; also for
``/readyz``, ``/metrics`` and so on."""

Number = Annotated[int, msgspec.Meta(ge=1)]


class Arguments(msgspec.Struct, forbid_unknown_fields=True):
    """``args`` of the config file. The gateway's settings come from the environment of Ray's nodes, as ``MLBIO_…``."""

    archive: str = str(ROOT / "model_store" / ARCHIVE)
    """At this path on every node."""
    min_replicas: Number = 1
    """Of each pool, always, on different nodes if possible, because one uses all cores."""
    max_replicas: Number = 1
    """Of each pool, when its queue is long."""
    max_replicas_per_node: Number = 2
    """Of each deployment. An update in place needs 2, since the old version's replicas count as well. With 1, Ray's
    autoscaler starts a node for each further replica."""
    gateway_on_head: bool = True
    """One gateway, on the head node: then no request is lost with another node. Otherwise ``min_replicas`` gateways,
    each on a node of its own."""


def application(args: dict[str, Any]) -> serve.Application:
    """The application that the config file's ``import_path`` names; ``args`` are :class:`Arguments`.

    Raises:
        msgspec.ValidationError: ``args`` has other names or types.
        api.archive.ArchiveError: there is no archive.
        ValueError: ``min_replicas`` is above ``max_replicas``.
    """
    arguments = msgspec.convert(args, Arguments, strict=False)
    settings = Settings.from_environment()
    archive = Archive.at(Path(arguments.archive))

    def pool(name: str, replica: type, batch: int, ongoing: int, queue: int, seconds: float) -> serve.Application:
        autoscaling = {
            "min_replicas": arguments.min_replicas,
            "max_replicas": arguments.max_replicas,
            "target_ongoing_requests": batch,  # running or waiting, for each replica
            "upscale_delay_s": 5.0,
            "downscale_delay_s": 120.0,
            "look_back_period_s": 15.0,
        }
        made: serve.Application = _deployment(
            replica,
            name=name,
            max_replicas_per_node=arguments.max_replicas_per_node,
            # Interval for finding an available replica; Ray's default of 0.5 s would leave replicas idle.
            request_router_config={"initial_backoff_s": 0.01, "max_backoff_s": 0.05},
            autoscaling_config=autoscaling,
            max_ongoing_requests=ongoing,
            max_queued_requests=queue + EXTRA_REQUESTS,
            graceful_shutdown_timeout_s=seconds,
        ).bind(archive)
        return made

    explain_seconds = settings.explain_seconds + GRACE_SECONDS
    gateway: serve.Application = _deployment(
        serve.ingress()(Gateway),
        name=GATEWAY,
        max_replicas_per_node=arguments.max_replicas_per_node,
        num_replicas=1 if arguments.gateway_on_head else arguments.min_replicas,
        max_ongoing_requests=settings.predict_queue + settings.explain_queue + EXTRA_REQUESTS,
        graceful_shutdown_timeout_s=explain_seconds,
        resources=HEAD if arguments.gateway_on_head else {},
    ).bind(
        # The next batches queue while one is computed.
        pool(POOL, PredictReplica, BATCH, 4 * BATCH, settings.predict_queue, settings.predict_seconds),
        pool(EXPLAIN_POOL, ExplainReplica, 1, 1, settings.explain_queue, explain_seconds),
    )
    return gateway


def _deployment(replica: type, resources: dict[str, float] | None = None, **options: Any) -> Any:
    """A deployment whose updates start new replicas before they stop the old ones."""
    return serve.deployment(
        replica,
        ray_actor_options={"num_cpus": CPUS, "resources": resources or {}},
        health_check_period_s=5.0,
        max_constructor_retry_count=3,
        max_surge_percent=100,
        rolling_update_percentage=1.0,
        **options,
    )


class Gateway:
    """The gateway's ASGI application in a replica."""

    def __init__(self, predict: DeploymentHandle, explain: DeploymentHandle) -> None:
        self._handles = {POOL: predict, EXPLAIN_POOL: explain}

    def __serve_build_asgi_app__(self) -> Starlette:
        """Called by Ray Serve."""
        settings = Settings.from_environment()
        logging.config.dictConfig(log_config(settings))
        traces.configure()
        app = create_app(settings, RayServe(self._handles))
        app.middleware_stack = without_request_id(app.build_middleware_stack())  # Ray reads the routes of a Starlette
        return app


def without_request_id(app: ASGIApp) -> ASGIApp:
    """``app`` without ``X-Request-ID`` in its responses: Ray's proxy, which gives each request its id, adds it."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)[REQUEST_ID_HEADER]
            await send(message)

        await app(scope, receive, send_without)

    return call
