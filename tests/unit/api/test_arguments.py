"""Arguments of a command line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from api.arguments import UsageError, ensure_writable, ensure_writable_folder, not_negative, positive


@pytest.mark.parametrize(("parse", "text"), [(positive, "0"), (positive, "1.5"), (not_negative, "-1"), (positive, "²")])
def test_other_than_whole_numbers_are_refused(parse, text: str):
    with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is not a whole number of at least"):
        parse(text)
    assert (positive("250"), not_negative("0")) == (250, 0)


def test_a_writable_path_is_left_empty(tmp_path: Path):
    ensure_writable(tmp_path / "new/model.pth", "--modelname")
    ensure_writable_folder(tmp_path / "card", "--output")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["card", "new"]


@pytest.mark.parametrize("ensure", [ensure_writable, ensure_writable_folder])
def test_a_path_that_cannot_be_written_is_named(tmp_path: Path, ensure):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file/deeper", tmp_path / ("x" * 300)):
        with pytest.raises(UsageError, match="--option .* cannot be written"):
            ensure(path, "--option")


def test_a_folder_is_not_a_file_to_write_nor_a_file_a_folder(tmp_path: Path):
    with pytest.raises(UsageError, match="it is a folder"):
        ensure_writable(tmp_path, "--modelname")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="it is a file, not a folder"):
        ensure_writable_folder(tmp_path / "file", "--output")
