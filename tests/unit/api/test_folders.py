"""Folders as cameras, file managers and network drives leave them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from api.folders import Kind, find_photographs
from api.pictures import encode_png, with_source


def names(folder: Path) -> dict[str, str]:
    return {str(found.path.relative_to(folder)): found.kind.value for found in find_photographs(folder)}


def touch(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"content")


def test_photographs_come_in_order_and_subfolders_last(tmp_path: Path):
    touch(tmp_path, "b.JPG", "a/c.jfif", "a.jpe", "d.mpo", "notes.txt")
    assert list(names(tmp_path)) == ["a.jpe", "b.JPG", "d.mpo", "a/c.jfif"]


@pytest.mark.parametrize(
    "companion",
    ["._x.jpg", ".hidden/x.jpg", ".ipynb_checkpoints/x.jpg", "__MACOSX/x.jpg", "@eaDir/x.jpg", "Thumbs.db", "x.txt"],
)
def test_companion_files_are_left_out(tmp_path: Path, companion: str):
    touch(tmp_path, "x.jpg", companion)
    assert names(tmp_path) == {"x.jpg": "photograph"}


@pytest.mark.parametrize("name", ["x.nef", "x.DNG", "x.dcm", "x.avif"])
def test_what_looks_like_a_photograph_is_never_left_out_silently(tmp_path: Path, name: str):
    touch(tmp_path, name)
    (found,) = find_photographs(tmp_path)
    assert found.kind is Kind.UNREADABLE and ": " in found.reason


def test_an_empty_file_and_a_link_to_nowhere_have_a_reason(tmp_path: Path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg").symlink_to(tmp_path / "missing.jpg")
    assert [found.reason for found in find_photographs(tmp_path)] == [
        "is empty",
        "cannot be read (No such file or directory)",
    ]


def test_links_to_folders_are_followed_once(tmp_path: Path):
    touch(tmp_path / "elsewhere", "a.jpg")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "cycle").symlink_to(folder)
    assert names(folder) == {"link/a.jpg": "photograph"}


def test_pictures_of_explanations_are_told_apart(tmp_path: Path):
    png = encode_png(Image.new("RGB", (4, 4)))
    (tmp_path / "a_explained.png").write_bytes(with_source(png, "a.jpg"))
    (tmp_path / "b_explained.png").write_bytes(png)  # somebody's own photograph of that name
    assert names(tmp_path) == {"a_explained.png": "explanation", "b_explained.png": "photograph"}
