"""The application that Ray Serve deploys, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.archive import ArchiveError
from api.headers import EXPLAIN_POOL, POOL
from scale.serving import CPUS, GATEWAY, application


@pytest.fixture
def archive(tmp_path: Path) -> str:
    path = tmp_path / "mlbio.mar"
    path.write_bytes(b"not looked into")
    return str(path)


def deployments(**args: Any) -> dict[str, Any]:
    gateway = application(args)._bound_deployment
    return {d.name: d for d in (gateway, *(pool._bound_deployment for pool in gateway.init_args))}


def test_settings_reach_the_deployments(archive: str, monkeypatch: pytest.MonkeyPatch):
    """The gateway refuses before Ray does, and replicas that stop get as long as their clients wait."""
    for name, value in {"PREDICT_QUEUE": 50, "EXPLAIN_QUEUE": 3, "PREDICT_SECONDS": 7, "EXPLAIN_SECONDS": 100}.items():
        monkeypatch.setenv(f"MLBIO_{name}", str(value))
    made = deployments(archive=archive, min_replicas="2", max_replicas="5")  # texts, as `serve run` gives them
    pools = {pool: made[pool]._deployment_config for pool in (POOL, EXPLAIN_POOL)}
    assert pools[POOL].max_queued_requests > 50 and pools[EXPLAIN_POOL].max_queued_requests > 3
    assert made[GATEWAY]._deployment_config.max_ongoing_requests > 53
    assert pools[EXPLAIN_POOL].max_ongoing_requests == 1
    assert pools[POOL].graceful_shutdown_timeout_s == 7
    assert min(made[name]._deployment_config.graceful_shutdown_timeout_s for name in (GATEWAY, EXPLAIN_POOL)) > 100
    for config in pools.values():
        assert (config.autoscaling_config.min_replicas, config.autoscaling_config.max_replicas) == (2, 5)


@pytest.mark.parametrize(("on_head", "gateways"), [(True, 1), (False, 2)])
def test_a_gateway_on_the_head_or_on_each_node(archive: str, on_head: bool, gateways: int):
    made = deployments(archive=archive, min_replicas=2, max_replicas=2, gateway_on_head=on_head)
    assert made[GATEWAY]._deployment_config.num_replicas == gateways
    assert bool(made[GATEWAY]._replica_config.ray_actor_options.get("resources")) == on_head


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"min_replicas": 0}, msgspec.ValidationError),
        ({"min_replicas": 3, "max_replicas": 2}, ValueError),
        ({"replicas": 2}, msgspec.ValidationError),
        ({"archive": "none.mar"}, ArchiveError),
    ],
)
def test_wrong_arguments_are_refused(archive: str, args: dict[str, Any], error: type[Exception]):
    with pytest.raises(error):
        application({"archive": archive} | args)


def test_one_cpu_is_enough_for_two_versions_of_the_application(archive: str):
    assert 2 * len(deployments(archive=archive)) * CPUS <= 1
