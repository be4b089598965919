"""The service on a cluster of two nodes: the contract's own tests, an update and the loss of a node under load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

import msgspec
import psutil
import pytest
import requests

from cluster.archive import MANIFEST
from cluster.nodes import Cluster, cluster
from handler.engines.graphs import INDEX
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
    "test_docs_page_asks_no_foreign_host",
    "test_answer_is_the_same_twice_and_in_a_crowd",
    "test_explanation_is_the_photograph_with_green_outlines",
    "test_leaving_stops_the_work",
)
"""Slow, and of the gateway alone, or covered by others here: starting a cluster has taken the time."""

leave_while_it_streams = partial(test_leaving_stops_the_work, headers=NDJSON)  # noqa: F405

for _name in ELSEWHERE:
    del globals()[_name]

COMMAND = [sys.executable, "deploy/ray_serve.py"]
PAUSE_SECONDS = 0.2
"""Between a client's requests: starting processes is what takes time here, and the load competes for the same cores."""

ARCHIVE = ROOT / "model_store" / "mlbio.mar"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster(2) as running:
        yield running


@pytest.fixture(scope="module")
def service(nodes: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """In place of TorchServe's."""
    log = tmp_path_factory.mktemp("ray") / "gateway.log"
    port = free_port()
    command = [*COMMAND, "--address", nodes.address, "--port", str(port)]
    environment = os.environ | nodes.environment | {"MLBIO_LOG_FILE": str(log)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    printed = []
    for line in process.stdout:
        printed.append(line)
        if "a prediction works" in line:
            break
    else:
        pytest.fail(f"the service did not start: {printed}")
    yield Service(f"http://127.0.0.1:{port}", "", process, log.parent)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    process.stdout.close()


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


def test_nothing_listens_beyond_this_machine(service: Service, nodes: Cluster):
    processes = {p.pid for node in nodes.nodes for p in node.family()} | {service.process.pid}
    listening = [c for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.pid in processes]
    assert len(listening) > 10
    assert {c.laddr.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}


def test_metrics_count_the_replicas_of_both_nodes(service: Service):
    text = requests.get(f"{service.url}/metrics", timeout=10).text
    for pool in ("mlbio", "mlbio_explain"):
        assert f'mlbio_cluster_replicas{{pool="{pool}",state="running"}} 2' in text


def test_an_update_under_load_loses_nothing(
    service: Service, nodes: Cluster, example_images: list[Path], tmp_path: Path
):
    photograph = encode(example_images[0].read_bytes())
    wanted = another_version(tmp_path / "next.mar")
    command = [*COMMAND, "--address", nodes.address, "--archive", str(tmp_path / "next.mar"), "--update"]
    with load(service, photograph) as made:
        updated = subprocess.run(
            command, cwd=ROOT, env=os.environ | nodes.environment, capture_output=True, text=True, timeout=300
        )
        assert updated.returncode == 0, updated.stdout + updated.stderr
        seen = len(made.answers)
        wait_for(lambda: len(made.answers) > seen + 10, 120)
    versions = made.versions()
    assert versions[0] != wanted == versions[-1] and len(set(versions)) == 2
    assert {version for version in versions[seen + 3 :]} == {wanted}


def test_the_loss_of_a_node_under_load_loses_nothing(
    service: Service, nodes: Cluster, example_images: list[Path], endless: str
):
    """Both replicas that explain are at work when one of them dies with its node."""
    photograph = encode(example_images[0].read_bytes())
    body = {"image": endless, "explain": True, "precision": "Faible"}
    patience = NDJSON | {"prefer": "wait=120"}  # noqa: F405
    with load(service, photograph, explains=False) as made, ThreadPoolExecutor(2) as pool:
        ask = partial(service.predict, body, headers=patience, stream=True)
        streams = [future.result().iter_lines() for future in [pool.submit(ask), pool.submit(ask)]]
        assert all("progress" in json.loads(next(lines)) for lines in streams)
        victim = nodes.nodes.pop()
        hit = any("ServeReplica:mlbio_explain" in " ".join(p.cmdline()) for p in victim.family())
        victim.kill()
        seen = len(made.answers)
        ends = list(pool.map(lambda lines: [json.loads(line) for line in lines], streams))
        wait_for(lambda: len(made.answers) > seen + 10, 120)
    assert all(lines[-1].get("success") is True for lines in ends), [lines[-1] for lines in ends]
    for lines in ends:
        shares = [line["progress"] for line in lines[:-1]]
        assert shares == sorted(shares), "progress never goes backwards"
    made.versions()
    assert not hit or retries(service) > 0


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
