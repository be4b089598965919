"""A file is written completely or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.files import write_atomically


def test_the_file_appears_when_it_is_complete_and_a_failure_keeps_the_old_one(tmp_path: Path):
    path = tmp_path / "results.json"
    with write_atomically(path) as partial:
        partial.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    with pytest.raises(KeyboardInterrupt), write_atomically(path) as partial:
        partial.write_text("sec")
        raise KeyboardInterrupt
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_the_reason_is_raised_if_nothing_can_be_written(tmp_path: Path):
    with pytest.raises(FileNotFoundError), write_atomically(tmp_path / "missing/results.json") as partial:
        partial.write_text("first")
