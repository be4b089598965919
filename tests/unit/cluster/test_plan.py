"""How many replicas, and how their queues relate to the gateway's."""

from __future__ import annotations

import pytest
from ray import serve

from api.headers import EXPLAIN_POOL, POOL
from cluster.plan import CPUS, POOLS, Plan, PlanError
from gateway.settings import Settings


@pytest.mark.parametrize(
    ("nodes", "least", "most", "expected"),
    [
        (1, None, None, (1, 1)),
        (2, None, None, (2, 2)),
        (5, None, None, (2, 5)),
        (1, 3, None, (3, 3)),
        (5, None, 1, (1, 1)),
        (1, None, 3, (1, 3)),
        (5, 1, 8, (1, 8)),
    ],
)
def test_a_node_can_be_lost_where_there_are_two(nodes: int, least: int | None, most: int | None, expected: tuple):
    plan = Plan.for_nodes(nodes, Settings(), least, most)
    assert (plan.least, plan.most) == expected


@pytest.mark.parametrize(("least", "most"), [(0, 1), (3, 2), (None, 0)])
def test_impossible_numbers_are_refused(least: int | None, most: int | None):
    with pytest.raises(PlanError, match="replicas"):
        Plan.for_nodes(2, Settings(), least, most)


@pytest.mark.parametrize("pool", POOLS)
def test_ray_serve_takes_the_options(pool: str):
    deployment = serve.deployment(type("Replica", (), {}), **Plan(1, 2, Settings()).options(pool))
    assert deployment.name == pool


def test_the_gateway_refuses_before_ray_does():
    settings = Settings(predict_queue=50, explain_queue=3)
    options = {pool: Plan(1, 2, settings).options(pool) for pool in POOLS}
    assert options[POOL]["max_queued_requests"] > 50
    assert options[EXPLAIN_POOL]["max_queued_requests"] > 3
    assert options[EXPLAIN_POOL]["max_ongoing_requests"] == 1


def test_a_replica_that_stops_waits_as_long_as_its_clients_do():
    settings = Settings(predict_seconds=7, explain_seconds=100)
    plan = Plan(1, 2, settings)
    assert plan.options(POOL)["graceful_shutdown_timeout_s"] == 7
    assert plan.options(EXPLAIN_POOL)["graceful_shutdown_timeout_s"] > 100


def test_one_cpu_is_enough_for_two_versions_of_both_pools():
    assert 2 * len(POOLS) * CPUS <= 1
