"""Which photographs a run has, and what makes two runs the same."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from scale.files import (
    ERRORS,
    LISTING,
    BatchError,
    list_errors,
    part,
    paths_of,
    prepare,
    shard_sizes,
    write_part,
)

OPTIONS: dict[str, Any] = {"shard": 2, "model": "0123456789ab", "explain": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    for name in ("b/2.JPG", "b/10.png", "a.jpeg", "b/notes.txt", "b/.hidden.jpg", "c d/é 1.tif"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def begin(source: Path, output: Path, **changed: Any) -> list[str]:
    """The photographs of a run, after checking that the shards have all of them."""
    prepare(source, output, **OPTIONS | changed)
    shards = [paths_of(output, i) for i in range(len(shard_sizes(output)))]
    assert [len(shard) for shard in shards] == shard_sizes(output)
    assert all(len(shard) == OPTIONS["shard"] for shard in shards[:-1])
    return [path for shard in shards for path in shard]


def test_a_folder_is_searched_in_the_order_of_names(folder: Path, tmp_path: Path):
    names = ["a.jpeg", "b/10.png", "b/2.JPG", "c d/é 1.tif"]
    assert begin(folder, tmp_path / "out") == [str(folder / name) for name in names]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("list.txt", "b/2.JPG\n\nc d/é 1.tif\r\nno-such.jpg".encode(), id="a path a line"),
        pytest.param(
            "list.txt", "b\\2.JPG\r\nc d\\é 1.tif\r\nno-such.jpg\r\n".encode("utf-16"), id="PowerShell's list"
        ),
        pytest.param(
            "list.txt", 'b/2.JPG\n"c d\\é 1.tif"\nno-such.jpg\n'.encode("cp1252"), id="Explorer's Copy as path"
        ),
        pytest.param("list.txt", "dx;File\nnv;b/2.JPG\nmel;\nmel;c d/é 1.tif\nnv;no-such.jpg".encode(), id="a header"),
        pytest.param("list.csv", "dx,file\nnv,b/2.JPG\nmel,\nmel,c d/é 1.tif\nnv,no-such.jpg\n".encode(), id="file"),
        pytest.param("list.csv", "File,dx\nb/2.JPG,nv\nc d/é 1.tif,\nno-such.jpg,\n".encode("cp1252"), id="File,dx"),
        pytest.param("list.csv", "sep=;\nfile;dx\nb/2.JPG\nc d/é 1.tif\nno-such.jpg".encode("utf-8-sig"), id="Excel"),
        pytest.param(
            "list.csv", "image_id,dx\nb/2,nv\nc d/é 1.tif,nv\nno-such.jpg,nv".encode(), id="without extension"
        ),
    ],
)
def test_the_paths_of_a_list_are_relative_to_its_folder(folder: Path, tmp_path: Path, name: str, text: bytes):
    (folder / "b/2.JPG").rename(folder / "b/2.jpg") if b"b/2," in text else None
    (folder / name).write_bytes(text)
    second = "b/2.jpg" if b"b/2," in text else "b/2.JPG"
    assert begin(folder / name, tmp_path / "out") == [
        str(folder / file) for file in (second, "c d/é 1.tif", "no-such.jpg")
    ]


def test_a_list_names_files_whose_names_are_not_utf_8(folder: Path, tmp_path: Path):
    strange = folder / os.fsdecode(b"caf\xe9.jpg")
    strange.touch()
    (folder / "list.txt").write_bytes(os.fsencode(strange) + b"\n/elsewhere/a.jpg\n")
    assert begin(folder / "list.txt", tmp_path / "out") == [str(strange), "/elsewhere/a.jpg"]


def test_what_cannot_be_read_has_a_row_too_and_companion_files_have_none(folder: Path, tmp_path: Path):
    for name in ("IMG_1.HEIC", "._a.jpg", "Thumbs.db", "__MACOSX/a.jpg", "@eaDir/a.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "z").symlink_to(folder / "b")
    names = ["IMG_1.HEIC", "a.jpeg", "b/10.png", "b/2.JPG", "c d/é 1.tif"]
    assert begin(folder, tmp_path / "out") == [str(folder / name) for name in names]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("empty", None, "no photographs"),
        ("list.txt", "\n\n", "no photographs"),
        ("list.csv", "name\na.jpg\n", "list.csv: found the columns name, expected a column file"),
        ("list.csv", 'file\n"a\nb.jpg"\n', "line break"),
        ("missing", None, "neither a folder nor a file"),
    ],
)
def test_what_has_none_is_refused_and_leaves_nothing(tmp_path: Path, name: str, text: str | None, reason: str):
    source = tmp_path / name
    if text is not None:
        source.write_text(text)
    elif name == "empty":
        source.mkdir()
    with pytest.raises(BatchError, match=reason):
        begin(source, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_the_same_command_continues_and_a_kill_while_it_is_written_leaves_no_half_listing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def killed(path: Path, target: Path) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "replace", killed)
            begin(folder, tmp_path / "out")
        first = begin(folder, tmp_path / "out")
        assert first == begin(folder, tmp_path / "out")
        assert [p.name for p in (tmp_path / "out").iterdir()] == [LISTING]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"shard": 1}, "--shard"),
        ({"model": "other"}, "the model"),
        ({"explain": "Faible"}, "--explain"),
        ({}, "photog"),
    ],
)
def test_other_options_or_photographs_are_another_run(folder: Path, tmp_path: Path, changed: dict, named: str):
    begin(folder, tmp_path / "out")
    if not changed:
        (folder / "7.jpg").touch()
    with pytest.raises(BatchError, match=named):
        begin(folder, tmp_path / "out", **changed)
    (folder / "7.jpg").unlink(missing_ok=True)
    begin(folder, tmp_path / "out")


def test_results_of_something_else_are_left_alone(folder: Path, tmp_path: Path):
    (tmp_path / "part-0.parquet").touch()
    with pytest.raises(BatchError, match="something else"):
        begin(folder, tmp_path)
    (tmp_path / LISTING).write_bytes(b"half a fi")
    with pytest.raises(BatchError, match="damaged"):
        begin(folder, tmp_path)


def test_failures_are_listed_with_their_reasons(tmp_path: Path):
    good = {"file": "/p/a.jpg", "prediction": "Melanoma", "dx": "mel", "probability": 0.5}
    write_part(part(tmp_path, 0), [good, {"file": "/p/b.jpg", "error": "is empty"}], explained=False)
    write_part(part(tmp_path, 1), [{"file": '/p/"c", d.jpg', "error": "is no picture"}], explained=True)
    assert list_errors(tmp_path) == 2
    with (tmp_path / ERRORS).open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["file", "error"], ["/p/b.jpg", "is empty"], ['/p/"c", d.jpg', "is no picture"]]
