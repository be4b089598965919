"""The service on a Ray cluster of two nodes, deployed with ``serve deploy`` from the configuration that Kubernetes has.

The contract's own tests, an update and the loss of a node under load.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
import ray
import requests
import yaml
from ray.cluster_utils import Cluster

from handler.engines.graphs import INDEX
from scale.archive import MANIFEST
from supervisor.processes import free_port
from tests.conftest import ROOT, encode
from tests.e2e.conftest import Service, wait_for

# These tests run again here, against this module's service; :data:`ELSEWHERE` names those that need not.
from tests.e2e.test_gateway import *  # noqa: F403
from tests.e2e.test_openapi import test_the_service_answers_as_it_documents  # noqa: F401
from tests.e2e.test_progress import *  # noqa: F403

pytestmark = pytest.mark.slow

ELSEWHERE = (
    "test_openapi_describes_what_is_answered",
    "test_gzip_when_accepted_and_only_then",
    "test_answer_is_the_same_twice_and_in_a_crowd",
    "test_explanation_is_the_photograph_with_green_outlines",
    "test_leaving_stops_the_work",
)
"""Slow, and of the gateway alone, or covered by others here."""

leave_while_it_streams = partial(test_leaving_stops_the_work, headers=NDJSON)  # noqa: F405

for _name in ELSEWHERE:
    del globals()[_name]

MANIFEST_OF_KUBERNETES = ROOT / "deploy/kubernetes/ray/rayservice.yaml"
ARCHIVE = ROOT / "model_store" / "mlbio.mar"
START_SECONDS = 300
NODE: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 80_000_000}
PAUSE_SECONDS = 0.2
"""Between a client's requests: starting processes is what takes time here, and the load competes for the same cores."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and another node on this machine, which let in nobody without their token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        dashboard = free_port()
        patch.setenv("RAY_DASHBOARD_ADDRESS", f"http://127.0.0.1:{dashboard}")  # for `serve`
        head = NODE | {"include_dashboard": True, "dashboard_port": dashboard}
        made = Cluster(initialize_head=True, head_node_args=head)
        try:
            made.add_node(**NODE)
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of Kubernetes for two nodes, at another port."""
    made = yaml.safe_load(yaml.safe_load(MANIFEST_OF_KUBERNETES.read_text())["spec"]["serveConfigV2"])
    made["http_options"] = {"host": "127.0.0.1", "port": free_port()}
    made["proxy_location"] = "HeadOnly"
    made["applications"][0]["args"] = {"archive": str(ARCHIVE), "min_replicas": 2, "max_replicas": 2}
    path = tmp_path_factory.mktemp("ray") / "config.yaml"
    path.write_text(yaml.safe_dump(made))
    return path


@pytest.fixture(scope="module")
def service(cluster: Cluster, config: Path) -> Service:
    """In place of TorchServe's."""
    serve("deploy", str(config))
    url = f"http://127.0.0.1:{yaml.safe_load(config.read_text())['http_options']['port']}"
    deadline = time.monotonic() + START_SECONDS
    while not ready(url):
        status = serve("status")
        assert "DEPLOY_FAILED" not in status and time.monotonic() < deadline, status
    return Service(url, "", None, config.parent)


def ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=20).status_code == 200
    except requests.RequestException:
        return False


def serve(*arguments: str) -> str:
    """The output of Ray's own ``serve``."""
    command = [str(Path(sys.executable).with_name("serve")), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Load:
    """Answers to requests that several clients send all the time."""

    answers: list[requests.Response | Exception] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    def versions(self) -> list[str]:
        """Of the models that answered; every answer has to be a success."""
        bad = [
            a if isinstance(a, Exception) else a.text[:200] for a in self.answers if getattr(a, "ok", False) is False
        ]
        assert not bad, f"{len(bad)} of {len(self.answers)} requests were lost: {bad[:3]}"
        return [answer.json()["details"]["model"]["version"] for answer in self.answers]


@contextmanager
def load(service: Service, photograph: str, explains: bool = True) -> Iterator[Load]:
    """Two clients that classify and, if ``explains``, one that has explanations made, until the block ends."""
    made = Load()

    def ask(explain: bool) -> None:
        body = {"image": photograph, "details": True, "explain": explain, "precision": "Faible"}
        patience = {"prefer": "wait=120"} if explain else None
        while not made.enough.is_set():
            try:
                made.answers.append(service.predict(body, timeout=150, headers=patience))
            except Exception as error:
                made.answers.append(error)
            made.enough.wait(PAUSE_SECONDS)

    with ThreadPoolExecutor(3) as clients:
        for explain in (False, False, *[True] * explains):
            clients.submit(ask, explain)
        try:
            wait_for(lambda: len(made.answers) > 10, 120)
            yield made
        finally:
            made.enough.set()


def test_who_has_no_token_is_not_let_in(service: Service, cluster: Cluster):
    command = [sys.executable, "-c", f"import ray; ray.init({cluster.address!r})"]
    environment = os.environ | {"RAY_AUTH_TOKEN": "0" * 64}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode != 0 and "token" in done.stderr


def test_an_update_under_load_loses_nothing(service: Service, config: Path, example_images: list[Path], tmp_path: Path):
    photograph = encode(example_images[0].read_bytes())
    wanted = another_version(tmp_path / "next.mar")
    changed = yaml.safe_load(config.read_text())
    changed["applications"][0]["args"]["archive"] = str(tmp_path / "next.mar")
    (tmp_path / "next.yaml").write_text(yaml.safe_dump(changed))
    with load(service, photograph) as made:
        serve("deploy", str(tmp_path / "next.yaml"))
        wait_for(lambda: made.versions()[-1] == wanted, START_SECONDS)
        wait_for(lambda: yaml.safe_load(serve("status"))["applications"]["mlbio"]["status"] == "RUNNING", START_SECONDS)
        seen = len(made.answers)
        wait_for(lambda: len(made.answers) > seen + 10, 120)
    versions = made.versions()
    assert set(versions[seen + 3 :]) == {wanted}
    assert versions[0] != wanted and len(set(versions)) == 2


def test_the_loss_of_a_node_under_load_loses_nothing(
    service: Service, cluster: Cluster, example_images: list[Path], endless: str
):
    """Both replicas that explain are at work when one of them dies with its node."""
    photograph = encode(example_images[0].read_bytes())
    body = {"image": endless, "explain": True, "precision": "Faible"}
    patience = NDJSON | {"prefer": "wait=120"}  # noqa: F405
    with load(service, photograph, explains=False) as made, ThreadPoolExecutor(2) as pool:
        ask = partial(service.predict, body, headers=patience, stream=True)
        streams = [future.result().iter_lines() for future in [pool.submit(ask), pool.submit(ask)]]
        assert all("progress" in json.loads(next(lines)) for lines in streams)
        (victim,) = cluster.worker_nodes
        cluster.remove_node(victim, allow_graceful=False)
        seen = len(made.answers)
        ends = list(pool.map(lambda lines: [json.loads(line) for line in lines], streams))
        wait_for(lambda: len(made.answers) > seen + 10, 120)
    assert all(lines[-1].get("success") is True for lines in ends), [lines[-1] for lines in ends]
    for lines in ends:
        shares = [line["progress"] for line in lines[:-1]]
        assert shares == sorted(shares), "progress never goes backwards"
    made.versions()
    assert retries(service) > 0


def test_leaving_stops_the_work_of_a_replica(service: Service, example_images: list[Path], endless: str):
    """Of the one that is left after the test above, and a photograph that nobody waits for does not occupy it."""
    leave_while_it_streams(service, encode(example_images[0].read_bytes()), endless)


def retries(service: Service) -> float:
    """Requests that were asked again, so far."""
    lines = requests.get(f"{service.url}/metrics", timeout=10).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("mlbio_cluster_retries_total{"))


def another_version(path: Path) -> str:
    """Write an archive of the shipped model whose checkpoint is another file; returns its version."""
    with zipfile.ZipFile(ARCHIVE) as shipped, zipfile.ZipFile(path, "w") as made:
        name = json.loads(shipped.read(MANIFEST))["model"]["serializedFile"]
        checkpoint = shipped.read(name) + b" "
        index = msgspec.json.decode(shipped.read(INDEX))
        index["model"]["sha256"] = digest = sha256(checkpoint).hexdigest()
        made.writestr(MANIFEST, shipped.read(MANIFEST))
        made.writestr(name, checkpoint)
        made.writestr(INDEX, msgspec.json.encode(index))
        for graph in index["sha256"]:
            made.writestr(graph, shipped.read(graph))
    return digest[:12]
