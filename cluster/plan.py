"""How many replicas there are, and how each pool queues, scales, is checked and ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from api.headers import EXPLAIN_POOL, POOL
from gateway.backend import GRACE_SECONDS
from gateway.settings import Settings

BATCH = 8
"""Most photographs in one pass, as in ``config.properties``."""

CPUS = 0.25
"""Of Ray's logical CPUs, for a replica. A node with one CPU has room for both pools and, during an update, for a second
version of both. It limits nothing: a replica uses all cores of its node."""

SPARE_PLACES = 4
"""Ray's queues are so much longer than the gateway's, which refuses first and with its own bounds in bytes."""


class PlanError(ValueError):
    """The numbers of replicas make no sense. The message says what to change."""


@dataclass(frozen=True)
class Plan:
    """How a deployment scales.

    Attributes:
        least: replicas of each pool that always run.
        most: replicas of each pool when its queue is long.
        settings: of the gateway in front.
    """

    least: int
    most: int
    settings: Settings

    @classmethod
    def for_nodes(cls, nodes: int, settings: Settings, least: int | None = None, most: int | None = None) -> Plan:
        """A plan for so many nodes, for what is not given: two replicas so that one can be lost, up to one a node.

        Raises:
            PlanError: ``least`` is below 1 or above ``most``.
        """
        least = least if least is not None else min(2, nodes, nodes if most is None else most)
        most = most if most is not None else max(nodes, least)
        if not 1 <= least <= most:
            raise PlanError(f"between {least} and {most} replicas are not possible: at least 1, at most --max-replicas")
        return cls(least, most, settings)

    def options(self, pool: str) -> dict[str, Any]:
        """Ray Serve's options for a pool's deployment."""
        explains = pool == EXPLAIN_POOL
        ongoing = 1 if explains else 4 * BATCH  # one batch is computed, and the next ones come together
        queue = self.settings.explain_queue if explains else self.settings.predict_queue
        seconds = self.settings.explain_seconds + GRACE_SECONDS if explains else self.settings.predict_seconds
        return {
            "name": pool,
            "ray_actor_options": {"num_cpus": CPUS},
            "max_ongoing_requests": ongoing,
            # How often the gateway looks for a replica that has room: Ray's own 0.5 s would leave replicas idle.
            "request_router_config": {"initial_backoff_s": 0.01, "max_backoff_s": 0.05},
            "max_queued_requests": queue + SPARE_PLACES,
            "autoscaling_config": {
                "min_replicas": self.least,
                "max_replicas": self.most,
                # Requests that run or wait, for each replica.
                "target_ongoing_requests": 1 if explains else BATCH,
                "upscale_delay_s": 5.0,
                "downscale_delay_s": 120.0,
                "look_back_period_s": 15.0,
            },
            "health_check_period_s": 5.0,
            "health_check_timeout_s": 30.0,
            # A replica that is to stop gets no new requests, and as long for those it has as somebody waits for them.
            "graceful_shutdown_timeout_s": seconds,
            "graceful_shutdown_wait_loop_s": 0.2,
            # The next version's replicas predict before the last one's stop.
            "max_surge_percent": 100,
            "rolling_update_percentage": 1.0,
            "max_constructor_retry_count": 3,
        }


POOLS = (POOL, EXPLAIN_POOL)
"""Each is an application of Ray Serve with one deployment."""
