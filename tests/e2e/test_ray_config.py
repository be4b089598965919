"""The application that ``deploy/kubernetes/ray`` names, deployed from its config file, behind Ray Serve's own door."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from cluster.nodes import cluster
from supervisor.processes import free_port
from tests.conftest import ROOT
from tests.e2e.conftest import Service, wait_for
from tests.e2e.test_gateway import *  # noqa: F403
from tests.e2e.test_progress import *  # noqa: F403
from tests.e2e.test_ray import ELSEWHERE, leave_while_it_streams

pytestmark = pytest.mark.slow

for _name in (*ELSEWHERE, "test_large_photograph_passes", "test_classification_does_not_wait_behind_explanations"):
    del globals()[_name]

MANIFEST = ROOT / "deploy/kubernetes/ray/rayservice.yaml"
SERVE = [str(Path(sys.executable).with_name("serve")), "run"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The manifest's own config on one node, at another port and with fewer replicas."""
    folder = tmp_path_factory.mktemp("ray-config")
    config = yaml.safe_load(yaml.safe_load(MANIFEST.read_text())["spec"]["serveConfigV2"])
    config["http_options"] = {"host": "127.0.0.1", "port": free_port()}
    (application,) = config["applications"]
    application["args"] = {"min_replicas": 1, "max_replicas": 1}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    url = f"http://127.0.0.1:{config['http_options']['port']}"
    with cluster(1) as made:
        environment = os.environ | made.environment | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        with (folder / "serve.log").open("w") as log:
            process = subprocess.Popen(
                [*SERVE, str(path), "--address", made.address], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        try:
            wait_for(lambda: ready(url), 60)
            yield Service(url, "", process, folder)
        finally:
            process.terminate()
            process.wait(60)


def ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=20).status_code == 200
    except requests.ConnectionError:
        return False


def test_leaving_stops_the_work_of_a_replica(service: Service, photograph: str, endless: str):
    """Of the only one that explains."""
    leave_while_it_streams(service, photograph, endless)
