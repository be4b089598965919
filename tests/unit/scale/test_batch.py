"""A shard's rows: those of the service's answers, in order; a photograph that cannot be read harms no other."""

from __future__ import annotations

import io
import os
import shutil
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from ray.exceptions import WorkerCrashedError

from api.answer import Prediction
from api.classes import CLASSES
from api.request import Request
from scale import batch
from scale.archive import Archive
from scale.batch import BATCH, CRASHES, Worker, decode, plan_workers
from scale.files import BatchError, part, prepare, write_part
from tests.conftest import ROOT

ARCHIVE = ROOT / "model_store/mlbio.mar"


@pytest.fixture(autouse=True)
def fatal(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of files that end the process that reads them. Tasks run in this one, when their result is wanted."""
    names: set[str] = set()

    def run(paths: list[str]) -> list[np.ndarray | str]:
        if names.intersection(Path(path).name for path in paths):
            raise WorkerCrashedError
        return decode(paths)

    monkeypatch.setattr(batch, "decoding_task", lambda: lambda paths: partial(run, paths))
    monkeypatch.setattr(batch.ray, "get", lambda task: task())
    return names


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, example_images: list[Path]) -> list[Path]:
    """More than two batches, of which some are not photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    made = [
        Path(shutil.copy(example_images[i % len(example_images)], folder / f"{i:03}.jpg")) for i in range(2 * BATCH + 3)
    ]
    made[1].write_bytes(b"")
    made[2].write_bytes(b"no picture")
    made[3].write_bytes(made[0].read_bytes()[:2000])
    made[BATCH].unlink()
    return made


def worker(files: list[Path], output: Path, explain=None) -> Worker:
    if not ARCHIVE.exists():
        pytest.skip("needs model_store/mlbio.mar: `make archive`")
    listing = output / "photographs.txt"
    listing.write_bytes(b"".join(os.fsencode(f) + b"\n" for f in files))
    prepare(listing, output, 500, "model", explain)
    return Worker(Archive.at(ARCHIVE), output, explain, cores=1)


def test_rows_are_those_of_the_services_answers(files: list[Path], tmp_path: Path, fatal: set[str]):
    """One photograph of the second batch ends every process that decodes it."""
    fatal.add(files[BATCH + 1].name)
    made = worker(files, tmp_path)
    assert made({"shard": 0}) == {"photographs": len(files), "failed": 5}
    rows = pq.read_table(part(tmp_path, 0)).to_pylist()
    assert [r["file"] for r in rows] == [str(f) for f in files]
    reasons = {i: r["error"] for i, r in enumerate(rows) if r["error"]}
    assert sorted(reasons) == [1, 2, 3, BATCH, BATCH + 1]
    assert "No such file" in reasons[BATCH] and reasons[BATCH + 1] == CRASHES
    assert all(rows[i]["probability"] is None for i in reasons)
    (answer,) = made.predictor.answer([Request(files[0].read_bytes(), details=True)])
    given = msgspec.json.decode(answer.body, type=Prediction)
    assert rows[0]["prediction"] == given.prediction == CLASSES[rows[0]["dx"]]
    assert rows[0]["probability"] == pytest.approx(given.probability, abs=0.01)  # another batch, other roundings
    assert sum(rows[0][f"p_{code}"] for code in CLASSES) == pytest.approx(1, abs=1e-3)
    assert rows[0]["plausible"] == (given.details.plausible and "; ".join(given.details.plausible))
    assert rows[0]["malignant"] is not None and rows[0]["novelty"] > 0 and rows[0]["model"]


def test_an_explanation_is_kept_with_its_picture(files: list[Path], tmp_path: Path):
    made = worker(files[:2], tmp_path, "Faible")
    made({"shard": 0})
    row, bad = pq.read_table(part(tmp_path, 0)).to_pylist()
    assert bad["error"] and bad["explained"] is None
    picture, regions = (np.asarray(Image.open(io.BytesIO(row[name]))) for name in ("explained", "region_map"))
    assert picture.shape == (224, 224, 3) and regions.shape == (224, 224)
    assert len(row["weights"]) == regions.max() + 1
    assert 0 < row["stability"] <= 1 and row["target"] == 0.9 and row["samples"] >= 128


def test_names_that_are_no_text_and_files_that_are_too_large(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = worker(files[:1], tmp_path)
    strange = tmp_path / os.fsdecode(b"na\xefve.jpg")
    shutil.copy(files[0], strange)
    monkeypatch.setattr(batch, "MAX_FILE_BYTES", strange.stat().st_size)
    (large := tmp_path / "large.jpg").write_bytes(strange.read_bytes() + b" ")
    write_part(tmp_path / "p.parquet", list(made.rows([str(strange), "nul\0.jpg", str(large)])), explained=False)
    first, second, third = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert first["file"].endswith("/na\\xefve.jpg") and first["dx"]
    assert second["file"] == "nul\0.jpg" and "cannot be read: " in second["error"]
    assert "make it smaller" in third["error"]


@pytest.mark.parametrize(
    ("nodes", "cores", "expected"),
    [([4.0, 4.0], None, (4, 2)), ([64.0, 4.0, 0.0], None, (4, 17)), ([64.0, 4.0], 32, (32, 2))],
)
def test_workers_of_the_smallest_machines_size_fill_the_others(nodes: list[float], cores: int | None, expected: tuple):
    assert plan_workers(nodes, cores) == expected


def test_more_cores_than_any_machine_has_are_refused():
    with pytest.raises(BatchError, match="no machine of the cluster has 8 cores"):
        plan_workers([4.0], 8)
