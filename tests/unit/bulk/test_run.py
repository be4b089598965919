"""What makes two runs the same, and the list of failures."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from bulk.listing import Listing
from bulk.rows import failed
from bulk.run import ERRORS, PLAN, RunError, list_errors, prepare
from bulk.worker import part, write_part

OPTIONS: dict[str, Any] = {"shard": 4, "model": "0123456789ab", "explain": None}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.jpg").touch()
    return folder


def begin(photographs: Path, **changed: Any) -> Listing:
    return prepare(photographs, photographs.parent / "out", **OPTIONS | changed)


def test_the_same_command_goes_on(photographs: Path):
    first, again = begin(photographs), begin(photographs)
    assert first == again and first.count == 6 and len(first.offsets) == 2
    assert sorted(p.name for p in (photographs.parent / "out").iterdir()) == ["photographs.txt", PLAN]


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"shard": 5}, "--shard"), ({"model": "other"}, "the model"), ({"explain": "Faible"}, "--expl")],
)
def test_other_options_are_another_run(photographs: Path, changed: dict, said: str):
    begin(photographs)
    with pytest.raises(RunError, match=said):
        begin(photographs, **changed)
    begin(photographs)


def test_other_photographs_are_another_run(photographs: Path):
    begin(photographs)
    (photographs / "7.jpg").touch()
    with pytest.raises(RunError, match="the photographs, their number differ"):
        begin(photographs)


def test_results_of_something_else_are_left_alone(photographs: Path):
    out = photographs.parent / "out"
    out.mkdir()
    (out / "part-0.parquet").touch()
    with pytest.raises(RunError, match="something else"):
        begin(photographs)
    (out / "part-0.parquet").unlink()
    (out / PLAN).write_text("{}")
    with pytest.raises(RunError, match="damaged"):
        begin(photographs)


def test_failures_are_listed_with_their_reasons(tmp_path: Path):
    good = {"file": "/p/a.jpg", "prediction": "Melanoma", "dx": "mel", "probability": 0.5}
    write_part(part(tmp_path, 0), [good, failed("/p/b.jpg", "is empty")], explained=False)
    write_part(part(tmp_path, 1), [failed('/p/"c", d.jpg', "is no picture")], explained=True)
    assert list_errors(tmp_path) == 2
    with (tmp_path / ERRORS).open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["file", "error"], ["/p/b.jpg", "is empty"], ['/p/"c", d.jpg', "is no picture"]]
