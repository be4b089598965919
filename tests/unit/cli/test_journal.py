"""What a journal keeps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api.answer import Prediction
from cli.journal import NAME, Journal, JournalError
from cli.output import Row

ANSWER = Prediction(prediction="Melanoma", probability=0.5)
SHA = "ab" * 32


def test_only_what_succeeded_is_kept_and_only_for_the_same_bytes(tmp_path: Path):
    strange = os.fsdecode(b"\xff.jpg")
    with Journal(tmp_path, {}, False) as journal:
        for row in (Row("a", ANSWER), Row("b", ANSWER, error="no disk"), Row(strange, ANSWER)):
            row.sha256 = SHA
            journal.add(row)
    with Journal(tmp_path, {}, True) as again:
        assert again.find("a", SHA) == Row("a", ANSWER, sha256=SHA) and again.find(strange, SHA)
        assert again.find("b", SHA) is None and again.find("a", "cd" * 32) is None


def test_a_picture_that_was_deleted_is_made_again(tmp_path: Path):
    picture = tmp_path / "a_explained.png"
    picture.write_bytes(b"")
    with Journal(tmp_path, {}, False) as journal:
        journal.add(Row("a", ANSWER, str(picture), sha256=SHA))
    with Journal(tmp_path, {}, True) as again:
        assert again.find("a", SHA)
        picture.unlink()
        assert again.find("a", SHA) is None


def test_other_settings_are_refused_and_a_new_run_keeps_the_old_file(tmp_path: Path):
    with Journal(tmp_path, {"explain": False}, False):
        before = (tmp_path / NAME).read_text()
    with pytest.raises(JournalError, match="other settings"):
        Journal(tmp_path, {"explain": True}, True)
    assert (tmp_path / NAME).read_text() == before
    with Journal(tmp_path, {"explain": True}, False):
        assert (tmp_path / "results.previous.jsonl").read_text() == before


def test_a_file_as_output_is_refused(tmp_path: Path):
    (tmp_path / "out").touch()
    with pytest.raises(JournalError, match=r"cannot be written \(it is a file\): choose another --output"):
        Journal(tmp_path / "out", {}, False)
