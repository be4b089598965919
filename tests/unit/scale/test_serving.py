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


def test_settings_reach_the_deployments(archive: str, monkeypatch: pytest.MonkeyPatch):
    """The gateway refuses before Ray does, and replicas that stop get as long as their clients wait."""
    for name, value in {"PREDICT_QUEUE": 50, "EXPLAIN_QUEUE": 3, "PREDICT_SECONDS": 7, "EXPLAIN_SECONDS": 100}.items():
        monkeypatch.setenv(f"MLBIO_{name}", str(value))
    # Texts, as `serve run` gives them.
    args = {"archive": archive, "min_replicas": "2", "max_replicas": "5", "gateway_on_head": "false"}
    root = application(args)._bound_deployment
    deployments = (root, *(pool._bound_deployment for pool in root.init_args))
    made = {d.name: d._deployment_config for d in deployments}
    gateway, predict, explain = made[GATEWAY], made[POOL], made[EXPLAIN_POOL]
    assert gateway.max_ongoing_requests > 53 and gateway.num_replicas == 2
    assert predict.max_queued_requests > 50 and explain.max_queued_requests > 3 and explain.max_ongoing_requests == 1
    assert predict.graceful_shutdown_timeout_s == 7 and explain.graceful_shutdown_timeout_s > 100
    assert gateway.graceful_shutdown_timeout_s > 100
    assert (predict.autoscaling_config.min_replicas, explain.autoscaling_config.max_replicas) == (2, 5)
    assert 2 * len(made) * CPUS <= 1, "one CPU is enough for two versions"
    assert all(d._replica_config.max_replicas_per_node >= 2 for d in deployments), "and so is one node"


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
