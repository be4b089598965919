"""The service on a Ray cluster of two nodes, deployed with ``serve deploy`` from the configuration that Kubernetes has.

The contract's own tests, an update and the loss of a node under load.
"""

from __future__ import annotations

import json
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
import requests
import yaml

from benchmarks.ray_serve import RayCluster, ray_cluster
from handler.engines.graphs import INDEX
from scale.archive import MANIFEST
from supervisor.processes import free_port
from tests.conftest import ROOT
from tests.e2e.conftest import Service, wait_for

# These run again here, against this module's service. Others are of the gateway alone.
from tests.e2e.test_gateway import (  # noqa: F401
    photograph,
    test_a_bad_request_says_what_to_change,
    test_classification_does_not_wait_behind_explanations,
    test_details_come_under_one_key,
    test_health_and_readiness,
    test_large_photograph_passes,
    test_one_broken_photograph_among_eight_fails_alone,
    test_success_has_the_four_keys,
    test_too_large_is_413_and_the_sender_hears_it,
)
from tests.e2e.test_openapi import test_the_service_answers_as_it_documents  # noqa: F401
from tests.e2e.test_progress import (
    NDJSON,
    ask,
    test_a_deadline_gives_the_best_so_far,  # noqa: F401
    test_progress_comes_as_lines_and_the_answer_last,  # noqa: F401
)

pytestmark = pytest.mark.slow

MANIFEST_OF_KUBERNETES = ROOT / "deploy/kubernetes/ray/rayservice.yaml"
ARCHIVE = ROOT / "model_store" / "mlbio.mar"
PAUSE_SECONDS = 0.2
"""Between a client's requests: starting processes is what takes time here, and the load competes for the same cores."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster(2) as running:
        yield running


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """The configuration of Kubernetes for two nodes, at another port."""
    made = yaml.safe_load(yaml.safe_load(MANIFEST_OF_KUBERNETES.read_text())["spec"]["serveConfigV2"])
    made["http_options"] = {"host": "127.0.0.1", "port": free_port()}
    made["proxy_location"] = "HeadOnly"
    made["applications"][0]["args"] = {"archive": str(ARCHIVE), "min_replicas": 2, "max_replicas": 2}
    return made


@pytest.fixture(scope="module")
def service(cluster: RayCluster, config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Service:
    """In place of TorchServe's."""
    return Service(cluster.deploy(config), "", cluster.nodes[0], tmp_path_factory.getbasetemp())


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
def load(service: Service, image: str, explains: bool = True) -> Iterator[Load]:
    """Two clients that classify and, if ``explains``, one that has explanations made, until the block ends."""
    made = Load()

    def ask(explain: bool) -> None:
        body = {"image": image, "details": True, "explain": explain, "precision": "Faible"}
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


def test_who_has_no_token_is_not_let_in(service: Service, cluster: RayCluster):
    command = [sys.executable, "-c", f"import ray; ray.init({cluster.address!r})"]
    environment = cluster.environment | {"RAY_AUTH_TOKEN": "0" * 64}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode != 0 and "token" in done.stderr


def test_leaving_stops_the_work_of_replicas(service: Service, photograph: str, endless: str):  # noqa: F811
    """Of both."""
    with (
        ask(service, endless, "Importante", NDJSON, stream=True) as first,
        ask(service, endless, "Importante", NDJSON, stream=True) as second,
    ):
        assert all(json.loads(next(response.iter_lines()))["progress"] == 0 for response in (first, second))
    # One that went on would take longer than the 22 s that this one gets at most.
    assert ask(service, photograph, "Faible", {"prefer": "wait=12"}).status_code == 200


def test_an_update_under_load_loses_nothing(
    service: Service,
    cluster: RayCluster,
    config: dict[str, Any],
    photograph: str,  # noqa: F811
    tmp_path: Path,
):
    wanted = another_version(tmp_path / "next.mar")
    config["applications"][0]["args"]["archive"] = str(tmp_path / "next.mar")
    with load(service, photograph) as made:
        cluster.deploy(config)
        wait_for(lambda: made.versions()[-1] == wanted, 300)
        wait_for(lambda: is_running(cluster), 300)
        seen = len(made.answers)
        wait_for(lambda: len(made.answers) > seen + 10, 120)
    versions = made.versions()
    assert set(versions[seen + 3 :]) == {wanted}
    assert versions[0] != wanted and len(set(versions)) == 2


def test_the_loss_of_a_node_under_load_loses_nothing(
    service: Service,
    cluster: RayCluster,
    photograph: str,  # noqa: F811
    endless: str,
):
    """Both replicas that explain are at work when one of them dies with its node."""
    body = {"image": endless, "explain": True, "precision": "Faible"}
    patience = NDJSON | {"prefer": "wait=180"}
    with load(service, photograph, explains=False) as made, ThreadPoolExecutor(2) as pool:
        ask = partial(service.predict, body, headers=patience, stream=True)
        streams = [future.result().iter_lines() for future in [pool.submit(ask), pool.submit(ask)]]
        assert all("progress" in json.loads(next(lines)) for lines in streams)
        cluster.kill_node(cluster.nodes[1])
        seen = len(made.answers)
        ends = list(pool.map(lambda lines: [json.loads(line) for line in lines], streams))
        wait_for(lambda: len(made.answers) > seen + 10, 120)
    assert all(lines[-1].get("success") is True for lines in ends), [lines[-1] for lines in ends]
    for lines in ends:
        shares = [line["progress"] for line in lines[:-1]]
        assert shares == sorted(shares), "progress never goes backwards"
    made.versions()
    assert retries(service) > 0


def is_running(cluster: RayCluster) -> bool:
    """Whether no replica starts or stops any more."""
    time.sleep(5)  # `serve` itself takes seconds of the same cores
    return yaml.safe_load(cluster.serve("status"))["applications"]["mlbio"]["status"] == "RUNNING"


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
