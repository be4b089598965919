"""What makes two runs the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bulk.listing import Listing
from bulk.plan import PLAN, RunError, prepare

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


def test_a_kill_while_the_plan_is_written_leaves_no_half_of_it(photographs: Path, monkeypatch: pytest.MonkeyPatch):
    write = Path.write_bytes

    def killed(path: Path, content: bytes) -> None:
        write(path, content[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            begin(photographs)
        assert not (photographs.parent / "out" / PLAN).exists()
    begin(photographs)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", killed)
        begin(photographs)  # writes nothing anew


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
