"""Replicas with a real model, of random weights, and without a cluster."""

from __future__ import annotations

import asyncio
import json
import tempfile
import zipfile
from pathlib import Path

import pytest

from api.deadline import Deadline
from api.headers import DEADLINE_HEADER, JOB_HEADER, STREAM_TYPE
from api.request import Request
from handler.engines.graphs import sha256
from scale.archive import MANIFEST, Archive
from scale.replicas import STALL_SECONDS, ExplainReplica, PredictReplica
from tests.unit.handler.conftest import exported, saved, squares, untrained  # noqa: F401  # fixtures

HURRY = {DEADLINE_HEADER: Deadline.after(0).to_header()}
"""A rough explanation: random weights give nothing that settles."""

STREAM = HURRY | {"accept": STREAM_TYPE}
JOB = {JOB_HEADER: "a" * 32}


@pytest.fixture(scope="module")
def archive(saved: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Archive:  # noqa: F811
    path = tmp_path_factory.mktemp("store") / "mlbio.mar"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(MANIFEST, json.dumps({"model": {"serializedFile": saved.name}}))
        for file in (saved, *exported.iterdir()):
            made.write(file, file.name)
    return Archive.at(path)


@pytest.fixture(scope="module")
def explanations(archive: Archive) -> ExplainReplica:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.nice", lambda more: 0)
        return ExplainReplica(archive)


@pytest.fixture
def request_(example_images: list[Path]) -> Request:
    return Request(example_images[0].read_bytes(), explain=True, precision="Faible", details=True)


def test_a_loaded_archive_leaves_nothing_behind(
    archive: Archive,
    saved: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert archive.load().model.version == sha256(saved)[:12]
    assert list(tmp_path.iterdir()) == []


def test_a_replica_that_explains_is_healthy_while_there_is_progress(explanations: ExplainReplica, request_: Request):
    async def check(seconds: float) -> None:
        parts = explanations.explain(request_, STREAM | JOB)
        await anext(parts)
        explanations._last_progress -= seconds
        try:
            await explanations.check_health()
        finally:
            await parts.aclose()
            await explanations._run([], [])  # until the thread has stopped

    asyncio.run(check(0))
    with pytest.raises(RuntimeError, match="no progress"):
        asyncio.run(check(STALL_SECONDS + 60))
    asyncio.run(explanations.check_health())


def test_a_model_that_fails_is_unhealthy(archive: Archive):
    replica = PredictReplica(archive)
    asyncio.run(replica.check_health())

    def fail(*arguments: object) -> None:
        raise RuntimeError("planted")

    replica._predictor.classifier.assess = fail
    with pytest.raises(RuntimeError, match="500"):
        asyncio.run(replica.check_health())
