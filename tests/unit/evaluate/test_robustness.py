"""Shifts, and the table of a classifier whose predictions depend on brightness alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.classes import CLASSES
from evaluate import main_robustness, robustness
from evaluate.dataset import DataError, Example, find_examples, split_by_lesion
from evaluate.files import read_json, read_measured
from evaluate.predictions import Predictions
from evaluate.report import robustness_table
from evaluate.robustness import SHIFTS, blur, compare, cropped, gamma, half_resolution, predict, squeezed, white_balance
from evaluate.score_card import MEAN_CHANGE, UNCHANGED, Robustness
from handler.engines.graphs import sha256
from handler.model.checkpoint import Checkpoint
from handler.model.images import network_square
from tests.pictures import noise
from tests.tiny_ham10000 import make_root
from tests.tiny_sources import make_sources
from tests.unit.evaluate.sets import MEL, NV, confident, examples_of

# Shifts


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return noise(384, 288, 24)


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shift_is_repeatable_and_changes_the_square(photograph: Image.Image, name: str):
    before = np.asarray(photograph).copy()
    first, again = (network_square(SHIFTS[name](photograph)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(np.asarray(photograph), before)
    difference = np.abs(first.astype(int) - network_square(photograph)).mean()
    assert difference == 0 if name == UNCHANGED else difference > 0.1, difference
    for size in [(1, 1), (3000, 2), (7, 900)]:
        assert network_square(SHIFTS[name](Image.new("RGB", size, (90, 60, 50)))).shape == (224, 224, 3)


def test_white_balance_and_gamma_change_the_levels_as_they_say():
    grey = Image.new("RGB", (4, 4), (100, 100, 100))
    assert white_balance(1.1, 0.9)(grey).getpixel((0, 0)) == (110, 100, 90)
    assert white_balance(3, 1)(grey).getpixel((0, 0)) == (255, 100, 100)
    assert gamma(2)(grey).getpixel((0, 0)) == (39, 39, 39)  # 255 * (100 / 255) ** 2


def test_blur_and_resizing_are_in_proportion_to_the_photograph(photograph: Image.Image):
    large = photograph.resize((768, 576), Image.Resampling.BICUBIC)
    squares = [network_square(blur(p)).astype(int) for p in (photograph, large)]
    assert np.abs(squares[0] - squares[1]).mean() < 2
    assert half_resolution(photograph).size == (149, 112)
    assert squeezed(photograph).size == cropped(photograph).size == (224, 224)
    bar = Image.new("RGB", (384, 288))
    bar.paste((255, 255, 255), (0, 0, 40, 288))  # outside the centre square
    assert not network_square(bar).any() and network_square(squeezed(bar)).any()


# The table


class Brightness:
    """A classifier that has its classes in another order and predicts by brightness."""

    classes, arithmetic = list(reversed(CLASSES)), "float32"

    def __init__(self, checkpoint: Checkpoint | None = None) -> None:
        pass

    def probabilities(self, squares: np.ndarray) -> np.ndarray:
        return confident([MEL if square.mean() < 100 else NV for square in squares])[:, ::-1]


@pytest.fixture
def two_shifts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robustness, "SHIFTS", {UNCHANGED: lambda photograph: photograph, "darker": gamma(1.4)})


def test_a_change_is_paired(tmp_path: Path, two_shifts: None):
    """Light photographs are nevi, and half of those are dark enough for gamma to make them melanomas."""
    examples = []
    for i in range(40):
        level = (60, 110, 60, 200)[i % 4]
        Image.new("RGB", (40, 40), (level,) * 3).save(tmp_path / f"{i}.png")
        examples.append(Example(tmp_path / f"{i}.png", NV if level > 100 else MEL, f"L{i // 2}"))
    predictions = predict(examples, Brightness(), "test")
    assert predictions[UNCHANGED].argmax(1).tolist() == [e.label for e in examples]
    assert predictions["darker"].argmax(1).tolist() == [MEL, MEL, MEL, NV] * 10
    rows = compare(predictions, examples, 200, 0)
    plain, darker, _ = rows
    assert plain.accuracy.value == plain.agreement.value == 1
    assert (plain.accuracy_change.low, plain.accuracy_change.high) == (0, 0)
    assert darker.accuracy.value == darker.agreement.value == 0.75
    assert darker.accuracy_change.value == -0.25 and darker.balanced_accuracy_change.value == -0.25
    assert darker.accuracy_change.low < -0.25 < darker.accuracy_change.high < 0
    text = robustness_table(Robustness("0123456789ab", "bfloat16", {"validation": 40}, {"validation": rows}))
    assert "classified in bfloat16" in text and "| 40 validation images | accuracy | difference |" in text
    assert "| none | 1.000 | | 1.000 | | 1.000 |" in text and "| darker | 0.750 | -0.250 (" in text
    examples[3].path.write_text("no image")
    with pytest.raises(DataError, match=r"3\.png: not an image"):
        predict(examples, Brightness(), "test")


def test_the_last_row_is_the_mean_of_the_changes():
    labels = [NV, NV, MEL, MEL] * 10
    right, half, wrong = labels, [NV] * 40, [MEL, MEL, NV, NV] * 10
    predictions = {UNCHANGED: confident(right), "a": confident(half), "b": confident(wrong), "c": confident(right)}
    *_, mean = compare(predictions, examples_of(labels), 200, 0)
    assert mean.shift == MEAN_CHANGE
    assert mean.accuracy.value == mean.agreement.value == mean.balanced_accuracy.value == 0.5
    assert mean.accuracy_change.value == mean.balanced_accuracy_change.value == -0.5
    assert mean.accuracy_change.low < -0.5 < mean.accuracy_change.high


# The command


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in place of a checkpoint, of a network that was trained on two of three lesions of the tiny set."""
    root = make_root(tmp_path / "data")
    train, _ = split_by_lesion(find_examples(root, "train"), 0.1, 0)
    monkeypatch.setattr(robustness, "Classifier", Brightness)
    monkeypatch.setattr(Checkpoint, "load", lambda path: Checkpoint({}, training={"images": len(train)}))
    path = tmp_path / "model.pth"
    path.write_text("weights")
    return path


def run(model: Path, *options: object) -> int:
    fixed = [model.parent / "data", "--modelname", model, "--output", model.parent / "card", "--resamples", 5]
    return main_robustness.main([str(argument) for argument in (*fixed, "--sets", "validation", *options)])


def test_the_command_writes_table_and_predictions(model: Path, capsys):
    folder, path, digest = model.parent / "answers", model.parent / "card/robustness.json", sha256(model)[:12]
    assert run(model, "--answers", folder) == 0
    written = read_measured(path, Robustness, digest)
    assert written is not None and robustness_table(written) == capsys.readouterr().out.rstrip("\n")
    assert [row.shift for row in written.sets["validation"]] == [*SHIFTS, MEAN_CHANGE]
    assert len(list(folder.iterdir())) == len(SHIFTS)
    darker = Predictions.read(folder / "validation_gamma_1.4_darker.csv")
    assert len(darker.examples) == written.images["validation"] and darker.model == ("model.pth", digest)
    row = next(row for row in written.sets["validation"] if row.shift == "gamma 1.4 (darker)")
    assert (darker.probabilities.argmax(1) == darker.labels).mean() == pytest.approx(row.accuracy.value, abs=1e-6)
    assert set(darker.probabilities.argmax(1)) <= {MEL, NV}
    assert read_measured(path, Robustness, "ffffffffffff") is None
    assert read_json(model.parent / "none.json", Robustness) is None
    path.write_text("{}")
    with pytest.raises(DataError, match=r"robustness\.json has another content"):
        read_json(path, Robustness)


def test_other_sources_have_tables_of_their_own(model: Path, capsys, two_shifts: None):
    folder = model.parent / "answers"
    assert run(model, "--also", make_sources(model.parent / "also"), "--answers", folder) == 0
    written = read_json(model.parent / "card/robustness.json", Robustness)
    assert written is not None and list(written.sets) == ["validation", "validation, elsewhere"]
    elsewhere = Predictions.read(folder / "validation_elsewhere_darker.csv")
    assert len(elsewhere.examples) == written.images["validation, elsewhere"] > 0
    assert {e.source for e in elsewhere.examples} == {"milk10k"}
    assert f"| {len(elsewhere.examples)} validation images, elsewhere | accuracy |" in capsys.readouterr().out


def test_images_that_the_model_was_not_trained_on_are_refused(model: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Checkpoint, "load", lambda path: Checkpoint({}, training={"images": 3}))
    assert run(model) == 2
    assert "the model was trained on 3 images" in capsys.readouterr().err
