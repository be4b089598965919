"""Which photographs there are, and which of them a shard has."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulk.listing import Listing, ListingError, write_listing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    for name in ("b/2.JPG", "b/10.png", "a.jpeg", "b/notes.txt", "b/.hidden.jpg", "c d/é 1.tif"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def listed(source: Path, tmp_path: Path) -> list[str]:
    target = tmp_path / "listing.txt"
    write_listing(source, target)
    listing = Listing.of(target, 2)
    found = [path for shard in range(len(listing.offsets)) for path in listing.paths(shard)]
    assert len(found) == listing.count
    return found


def test_a_folder_is_searched_in_the_order_of_names(folder: Path, tmp_path: Path):
    names = ["a.jpeg", "b/10.png", "b/2.JPG", "c d/é 1.tif"]
    assert listed(folder, tmp_path) == [str(folder / name) for name in names]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "b/2.JPG\n\n/elsewhere/x.jpg\r\nno-such.jpg"),
        ("list.csv", "dx,file\nnv,b/2.JPG\nmel,\nmel,/elsewhere/x.jpg\nnv,no-such.jpg\n"),
        ("list.csv", "\ufefffile\nb/2.JPG\n/elsewhere/x.jpg\nno-such.jpg\n"),
    ],
)
def test_a_file_names_paths_from_its_own_folder(folder: Path, tmp_path: Path, name: str, text: str):
    (folder / name).write_text(text)
    assert listed(folder / name, tmp_path) == [str(folder / "b/2.JPG"), "/elsewhere/x.jpg", str(folder / "no-such.jpg")]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("empty", None, "no photographs"),
        ("list.txt", "\n\n", "no photographs"),
        ("list.csv", "path\na.jpg\n", "no column file"),
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
    with pytest.raises(ListingError, match=reason):
        write_listing(source, tmp_path / "listing.txt")
    assert not list(tmp_path.glob("listing.txt*"))


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (3, [3]), (4, [3, 1]), (6, [3, 3])])
def test_shards_cover_all_lines_once(tmp_path: Path, count: int, sizes: list[int]):
    file = tmp_path / "listing.txt"
    file.write_text("".join(f"/p/{i}.jpg\n" for i in range(count)))
    listing = Listing.of(file, 3)
    assert [listing.size_of(i) for i in range(len(listing.offsets))] == sizes
    assert [p for i in range(len(sizes)) for p in listing.paths(i)] == [f"/p/{i}.jpg" for i in range(count)]


def test_names_that_are_not_utf8_stay_as_they_are(tmp_path: Path):
    name = b"/p/caf\xe9.jpg"
    (tmp_path / "listing.txt").write_bytes(name + b"\n")
    (path,) = Listing.of(tmp_path / "listing.txt", 5).paths(0)
    assert path.encode("utf-8", "surrogateescape") == name
