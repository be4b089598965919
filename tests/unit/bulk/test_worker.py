"""A shard's rows: those of the service's answers, in order; a photograph that cannot be read harms no other."""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from api.answer import Prediction
from api.classes import CLASSES
from api.request import Request
from bulk.listing import Listing
from bulk.plan import RunError
from bulk.results import part, write_part
from bulk.run import divided
from bulk.worker import BATCH, Task, Worker
from cluster.archive import Archive
from tests.conftest import ROOT

ARCHIVE = ROOT / "model_store/mlbio.mar"


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
    return Worker(Task(Listing.of(listing, 500), Archive.at(ARCHIVE), output, explain, cores=1))


def test_rows_are_those_of_the_services_answers(files: list[Path], tmp_path: Path):
    made = worker(files, tmp_path)
    assert made({"shard": 0}) == {"shard": 0, "photographs": len(files), "failed": 4}
    rows = pq.read_table(part(tmp_path, 0)).to_pylist()
    assert [r["file"] for r in rows] == [str(f) for f in files]
    reasons = {i: r["error"] for i, r in enumerate(rows) if r["error"]}
    assert sorted(reasons) == [1, 2, 3, BATCH]
    assert "No such file" in reasons[BATCH] and all(rows[i]["probability"] is None for i in reasons)
    (answer,) = made.predictor.answer([Request(files[0].read_bytes(), details=True)])
    given = msgspec.json.decode(answer.body, type=Prediction)
    assert rows[0]["prediction"] == given.prediction == CLASSES[rows[0]["dx"]]
    assert rows[0]["probability"] == pytest.approx(given.probability, abs=0.01)  # another batch, other roundings
    assert sum(rows[0][f"p_{code}"] for code in CLASSES) == pytest.approx(1, abs=1e-3)
    assert (rows[0]["plausible"] is None) == (given.details.plausible is None)
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


def test_a_name_that_is_no_text_ends_nothing(files: list[Path], tmp_path: Path):
    made = worker(files[:1], tmp_path)
    strange = tmp_path / os.fsdecode(b"na\xefve.jpg")
    shutil.copy(files[0], strange)
    rows = list(made.rows([str(strange), "nul\0.jpg"]))
    write_part(tmp_path / "p.parquet", rows, explained=False)
    first, second = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert first["file"].endswith("/na\\xefve.jpg") and first["dx"]
    assert second["file"] == "nul\0.jpg" and "cannot be read: " in second["error"]


def test_workers_on_unequal_machines_have_as_many_threads_as_cores_are_reserved(files: list[Path], tmp_path: Path):
    task = worker(files[:1], tmp_path).task
    for nodes, given, expected in (
        ([4.0, 4.0], None, (None, 4.0, 2)),
        ([64.0, 4.0, 0.0], None, (4, 4.0, 17)),
        ([64.0, 4.0], 32, (32, 32, 2)),
    ):
        made, cores, places = divided(replace(task, cores=given), nodes)
        assert (made.cores, cores, places) == expected
    with pytest.raises(RunError, match="no machine of the cluster has 8 cores"):
        divided(replace(task, cores=8), [4.0])
