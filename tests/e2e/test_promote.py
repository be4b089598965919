"""A new model while requests flow, and back: nothing is lost, and answers name the version that they come from."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import requests

from api.headers import EXPLAIN_POOL, STREAM_TYPE
from gateway.settings import Settings
from handler.engines.graphs import sha256
from handler.model.checkpoint import Checkpoint
from supervisor.promotion import PromotionError, promote
from supervisor.runtime import find_service
from tests.conftest import ROOT, encode
from tests.e2e.conftest import SERVER, Service, start_service, stop_service, wait_for

pytestmark = pytest.mark.slow

SHIPPED = ROOT / "model_store"
CARD = Path("score_card/score_card.json")


class Promoting:
    """A service with a model store of its own, and a retrained model with its card."""

    def __init__(self, folder: Path, temporary: str) -> None:
        self.store = folder / "store"
        # This machine may be slow, and load is what is tested.
        self.environment = {"TMPDIR": temporary, "MLBIO_HOLD_SECONDS": "120"}
        for name in ("mlbio.mar", "mlbio.mar.sha256", "model_mlbio.pth", CARD):
            (self.store / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SHIPPED / name, self.store / name)
        self.logs = folder / "logs"
        command = [sys.executable, "-m", "supervisor", "--logs", self.logs, "--model-store", self.store]
        self.service: Service = start_service(self.logs, [str(c) for c in command], **self.environment)
        self.environment["MLBIO_PORT"] = self.service.url.rpartition(":")[2]
        self.old = sha256(self.store / "model_mlbio.pth")[:12]
        self.retrained = folder / "retrained/model.pth"
        checkpoint = Checkpoint.load(self.store / "model_mlbio.pth")
        (self.retrained.parent / CARD).parent.mkdir(parents=True)
        replace(checkpoint, temperature=checkpoint.temperature * 1.01).save(self.retrained)
        self.new = sha256(self.retrained)[:12]
        self.write_card(self.new)

    def write_card(self, version: str) -> None:
        card = json.loads((SHIPPED / CARD).read_text())
        card["model"]["sha256"] = version
        (self.retrained.parent / CARD).write_text(json.dumps(card))

    def promote(self, *arguments: object, on_line: Callable[[str], None] = print) -> tuple[int, str]:
        """The command's exit code and what it printed; ``on_line`` gets each line as it comes."""
        command = [sys.executable, ROOT / "deploy/promote.py", "--model-store", self.store, *arguments]
        with subprocess.Popen(
            [str(c) for c in command],
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            output = ""
            for line in process.stdout:
                on_line(line)
                output += line
        return process.returncode, output

    def version(self, photograph: str) -> str:
        answer = self.service.predict({"image": photograph, "details": True})
        return str(answer.json()["details"]["model"]["version"])

    def servers(self) -> list[psutil.Process]:
        return self.service.processes(SERVER)


@pytest.fixture(scope="module")
def promoting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Promoting]:
    with tempfile.TemporaryDirectory(prefix="mlbio-t-") as temporary:  # a short name, as sockets need
        made = Promoting(tmp_path_factory.mktemp("promote"), temporary)
        yield made
        assert stop_service(made.service) == 0
        assert not list(Path(temporary).glob("mlbio-serve-*"))


@pytest.fixture(scope="module")
def photograph(example_images: list[Path]) -> str:
    return encode(example_images[0].read_bytes())


class Load:
    """Two clients that classify, and the versions that answered them.

    They leave some of two cores to what is tested, and to the other tests' processes.
    """

    PAUSE = 0.1  # seconds

    def __init__(self, promoting: Promoting, photograph: str) -> None:
        self.versions: Counter[str] = Counter()
        self.failures: list[str] = []
        self._promoting, self._photograph = promoting, photograph
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]

    def _ask(self) -> None:
        while not self._ends.wait(self.PAUSE):
            try:
                answer = self._promoting.service.predict({"image": self._photograph, "details": True})
                if answer.status_code == 200:
                    self.versions[answer.json()["details"]["model"]["version"]] += 1
                else:
                    self.failures.append(answer.text)
            except requests.RequestException as error:
                self.failures.append(repr(error))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(60)


def test_a_new_model_and_back_under_load(promoting: Promoting, photograph: str):
    assert promoting.version(photograph) == promoting.old
    explained: list[dict] = []

    def explain() -> None:
        """With progress; its worker is suspended while new requests are already held."""
        request = {"image": photograph, "explain": True, "precision": "Faible", "details": True}
        answer = promoting.service.predict(request, headers={"accept": STREAM_TYPE, "prefer": "wait=120"})
        explained.extend(json.loads(line) for line in answer.text.splitlines())

    explaining = threading.Thread(target=explain)
    worker = promoting.service.workers()[EXPLAIN_POOL]

    def on_line(line: str) -> None:
        if "packing" in line:
            worker.suspend()
            explaining.start()
        elif "waiting for running requests" in line:
            assert explaining.is_alive()
            threading.Timer(2, worker.resume).start()
        elif "restarting TorchServe" in line:
            explaining.join(10)
            assert not explaining.is_alive(), "it was not waited for"

    with Load(promoting, photograph) as load:
        try:
            code, output = promoting.promote(promoting.retrained, on_line=on_line)
        finally:
            with contextlib.suppress(psutil.Error):  # it has ended
                worker.resume()
        assert code == 0 and f"the service answers with {promoting.new}" in output, output
        assert promoting.version(photograph) == promoting.new
        code, output = promoting.promote("--rollback")
        assert code == 0, output
        assert promoting.version(photograph) == promoting.old
    explaining.join(60)
    print(f"answers by version: {dict(load.versions)}")
    assert load.failures == []
    assert set(load.versions) == {promoting.old, promoting.new} and min(load.versions.values()) > 10
    # The explanation began with the old model, and TorchServe was not stopped before it had answered.
    assert explained[-1]["success"] and explained[-1]["details"]["model"]["version"] == promoting.old
    assert len(promoting.servers()) == 1


def test_what_was_promoted_is_kept_alive_and_installed(promoting: Promoting, photograph: str):
    (server,) = promoting.servers()
    server.kill()
    wait_for(lambda: promoting.servers() not in ([], [server]), 60)
    wait_for(lambda: requests.get(f"{promoting.service.url}/readyz", timeout=10).ok, 60)
    assert promoting.version(photograph) == promoting.old
    assert sorted(p.name for p in promoting.store.rglob("*.mar")) == ["mlbio.mar", "mlbio.mar"]


@pytest.fixture
def broken(promoting: Promoting) -> Path:
    """The archive to go back to, with the right checksum, and graphs of another checkpoint."""
    archive, partial = promoting.store / "previous/mlbio.mar", promoting.store / "broken"
    with zipfile.ZipFile(promoting.store / "mlbio.mar") as old, zipfile.ZipFile(partial, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"another" if name == "model_mlbio.pth" else old.read(name))
    partial.replace(archive)
    archive.with_name("mlbio.mar.sha256").write_text(f"{sha256(archive)}  mlbio.mar\n")
    return archive


def test_a_model_that_cannot_be_loaded_is_refused_and_nothing_is_interrupted(
    promoting: Promoting, photograph: str, broken: Path
):
    servers = promoting.servers()
    with Load(promoting, photograph) as load:
        code, output = promoting.promote("--rollback")
    assert code == 1 and "cannot be loaded" in output and "another checkpoint" in output, output
    assert load.failures == [] and set(load.versions) == {promoting.old}
    assert promoting.servers() == servers


def test_a_model_that_torchserve_cannot_load_is_replaced_by_the_one_before(
    promoting: Promoting, photograph: str, broken: Path, monkeypatch: pytest.MonkeyPatch
):
    """As if the machine had too little memory for it."""
    monkeypatch.setattr(tempfile, "tempdir", promoting.environment["TMPDIR"])
    settings = Settings(port=int(promoting.environment["MLBIO_PORT"]))
    service = find_service(settings)
    assert service is not None
    with pytest.raises(PromotionError, match="(?s)cannot be loaded.*another checkpoint.*is restored, and predicts"):
        promote(broken, service, settings, print)
    assert promoting.version(photograph) == promoting.old and len(promoting.servers()) == 1


def test_a_worse_model_is_refused(promoting: Promoting, photograph: str):
    card = promoting.retrained.parent / CARD
    worse = json.loads(card.read_text())
    worse["metrics"]["macro_auroc"]["value"] = 0.9
    card.write_text(json.dumps(worse))
    code, output = promoting.promote(promoting.retrained)
    assert code == 1 and "macro auroc 0.900 is below" in output
    assert promoting.version(photograph) == promoting.old and len(promoting.servers()) == 1
