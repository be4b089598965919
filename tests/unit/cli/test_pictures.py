"""Names of pictures, and saving them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from api.answer import Prediction
from cli.photographs import FileError, Photograph, find
from cli.pictures import Names, save

ANSWER = Prediction(prediction="Melanoma", probability=0.5, explain=[[[1, 2, 3]]])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def explain(name: str, output: Path | None = None) -> str:
    photograph = Photograph(name, Path(Path(name).name))
    names = Names(output)
    path = names.reserve(photograph)
    save(path, photograph, b"", ANSWER, None)
    names.release(path)
    return str(path)


def test_the_same_photograph_replaces_its_picture_and_another_does_not():
    assert explain("a.jpg") == "a_explained.png"
    assert explain("a.png") == "a.png_explained.png", "in a later run, too"
    assert explain("a.gif") == "a.gif_explained.png"
    assert [explain(name) for name in ("a.jpg", "a.png")] == ["a_explained.png", "a.png_explained.png"]


def test_a_file_that_is_no_picture_of_ours_stays():
    Image.new("RGB", (2, 2)).save("a_explained.png")
    before = Path("a_explained.png").read_bytes()
    assert explain("a.jpg") == "a.jpg_explained.png"
    assert Path("a_explained.png").read_bytes() == before


def test_two_at_once_have_two_names():
    names = Names(None)
    reserved = [names.reserve(Photograph(name, Path(name))) for name in ("a.jpg", "a.png")]
    assert reserved == [Path("a_explained.png"), Path("a.png_explained.png")]


def test_folders_of_an_output_are_those_of_the_photographs():
    Path("in/x").mkdir(parents=True)
    Image.new("RGB", (2, 2)).save("in/x/a.png")
    (photograph,) = find(["in"])
    assert Names(Path("out")).reserve(photograph) == Path("out/x/a_explained.png")
    assert explain("in/a.jpg", Path("out")) == "out/a_explained.png"
    assert explain("b/a.jpg", Path("out")) == "out/a.jpg_explained.png"


def test_our_pictures_are_not_explained_again():
    explain("a.jpg")
    Image.new("RGB", (2, 2)).save("b_explained.png")
    for names in (["."], ["*.png"], ["a_explained.png", "b_explained.png"]):
        assert [(p.name, p.skipped) for p in find(names)] == [("a_explained.png", True), ("b_explained.png", False)]


def test_a_picture_that_cannot_be_written_leaves_nothing():
    Path("a_explained.png").mkdir()
    with pytest.raises(FileError, match="cannot be written"):
        save(Path("a_explained.png"), Photograph("a.jpg", Path("a.jpg")), b"", ANSWER, None)
    assert [p.name for p in Path().iterdir()] == ["a_explained.png"]
    with pytest.raises(FileError, match="no picture of why"):
        save(Path("b"), Photograph("a", Path("a")), b"", Prediction(prediction="Melanoma", probability=0.5), "outline")
