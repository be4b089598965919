"""What is found, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.photographs import FileError, Photograph, find


def test_a_folder_is_searched_and_sorted(tmp_path: Path):
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png", "sub/c.tiff"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [str(p.place) for p in find([str(tmp_path)])] == ["a.png", "b.JPG", "sub/c.tiff"]


@pytest.mark.parametrize("name", ["", "*.jpg"])
def test_nothing_found_is_said(tmp_path: Path, name: str):
    (photograph,) = find([str(tmp_path / name)])
    assert photograph.error is not None and photograph.error.startswith("no photograph")


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path: Path):
    (tmp_path / "a[1].jpg").write_bytes(b"x")
    (photograph,) = find([str(tmp_path / "a[1].jpg")])
    assert photograph.read() == b"x"


def test_an_empty_file_is_not_sent(tmp_path: Path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(FileError, match=r"is empty \(0 bytes\)"):
        Photograph(str(tmp_path / "a.jpg"), Path("a.jpg")).read()


@pytest.mark.parametrize(("name", "why"), [("missing.jpg", "No such file"), ("/dev/zero", "100 MiB")])
def test_what_cannot_be_read_says_why(name: str, why: str):
    with pytest.raises(FileError, match=why):
        Photograph(name, Path(name)).read()
