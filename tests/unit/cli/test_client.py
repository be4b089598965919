"""The command line's choices that need no service."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.contract import Details, Malignant, Model, OutOfDistribution, Prediction
from cli.client import main, picture_paths, warnings


def details(malignant: bool | None, unlike: bool | None) -> Details:
    return Details(
        probabilities={},
        malignant=None if malignant is None else Malignant(0.4, 0.3, malignant),
        out_of_distribution=None if unlike is None else OutOfDistribution(0.5, unlike),
        model=Model("resnet34", "0"),
        explanation=None,
    )


MALIGNANT = "; malignant diagnoses together 40.0%"
UNLIKE = "; unlike the photographs that the model knows: not to be trusted"


@pytest.mark.parametrize(
    ("malignant", "unlike", "expected"),
    [
        (None, None, ""),
        (False, False, ""),
        (True, None, MALIGNANT),
        (None, True, UNLIKE),
        (True, True, MALIGNANT + UNLIKE),
    ],
)
def test_a_line_ends_in_the_warnings(malignant: bool | None, unlike: bool | None, expected: str):
    answer = Prediction(prediction="Melanoma", probability=0.5, details=details(malignant, unlike))
    assert warnings(answer) == expected


def test_an_answer_without_details_has_no_warnings():
    assert warnings(Prediction(prediction="Melanoma", probability=0.5)) == ""


@pytest.mark.parametrize(
    ("photographs", "pictures"),
    [
        (["a.jpg", "b.jpg"], ["a_explained.png", "b_explained.png"]),
        (["a.jpg", "a.png"], ["a_explained.png", "a.png_explained.png"]),
        (["a.jpg", "x/a.jpg"], ["a_explained.png", "x/a_explained.png"]),
        (["a.jpg", "a_explained.png"], ["a.jpg_explained.png", "a_explained_explained.png"]),
        (["a_explained.png", "./a.jpg"], ["a_explained_explained.png", "a.jpg_explained.png"]),
        (
            ["a.jpg", "a_explained.png", "a.jpg_explained.png"],
            ["a.jpg_explained_2.png", "a_explained_explained.png", "a.jpg_explained_explained.png"],
        ),
        (["a.jpg", "a.jpg"], ["a_explained.png", "a.jpg_explained.png"]),
    ],
)
def test_no_picture_overwrites_a_photograph_or_another_picture(photographs: list[str], pictures: list[str]):
    assert picture_paths([Path(p) for p in photographs]) == [Path(p) for p in pictures]


def test_a_photograph_is_recognised_under_its_other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real.png").write_bytes(b"")
    (tmp_path / "a_explained.png").symlink_to("real.png")
    assert picture_paths([Path("a.jpg"), tmp_path / "real.png"])[0] == Path("a.jpg_explained.png")
    assert picture_paths([Path("b.jpg"), tmp_path / "b_explained.png"])[0] == Path("b.jpg_explained.png")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path / "missing.jpg"), str(tmp_path)]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"client.py: {tmp_path / 'missing.jpg'}: cannot be read (No such file or directory)"
    assert second == f"client.py: {tmp_path}: cannot be read (Is a directory)"
