"""Arguments of a command line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from evaluate.arguments import (
    UsageError,
    add_also_option,
    ensure_writable,
    ensure_writable_folder,
    not_negative,
    positive,
)


@pytest.mark.parametrize(("parse", "text"), [(positive, "0"), (positive, "-1"), (positive, "1.5"), (not_negative, "x")])
def test_other_numbers_are_refused(parse, text: str):
    with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is not a whole number of at least"):
        parse(text)


def test_whole_numbers_are_read():
    assert (positive("1"), not_negative("0"), positive("250")) == (1, 0, 250)


def test_other_sources_may_be_named_again_and_again():
    parser = argparse.ArgumentParser()
    add_also_option(parser)
    assert parser.parse_args(["--also", "a", "--also", "b"]).also == ["a", "b"]
    assert parser.parse_args([]).also == []


def test_a_place_that_can_be_written_is_left_empty(tmp_path: Path):
    assert ensure_writable(tmp_path / "new/model.pth", "--modelname") == tmp_path / "new/model.pth"
    assert ensure_writable_folder(tmp_path / "card", "--output") == tmp_path / "card"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["card", "new"]


@pytest.mark.parametrize("ensure", [ensure_writable, ensure_writable_folder])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, ensure):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file/deeper", tmp_path / ("x" * 300)):
        with pytest.raises(UsageError, match="--option .* cannot be written"):
            ensure(path, "--option")


def test_a_folder_is_not_a_file_to_write(tmp_path: Path):
    with pytest.raises(UsageError, match="it is a folder"):
        ensure_writable(tmp_path, "--modelname")
