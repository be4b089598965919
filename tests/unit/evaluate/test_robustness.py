"""The table of shifts, for a classifier whose answers depend on brightness alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.classes import CLASSES
from evaluate import main_robustness, robustness, shifted
from evaluate.dataset import DataError, Example, find_examples, split_by_lesion
from evaluate.predictions import Predictions
from evaluate.report import robustness_table
from evaluate.robustness import Robustness, answers_under, compare
from evaluate.shifts import UNCHANGED, gamma
from handler.engines.graphs import sha256
from handler.model.checkpoint import Checkpoint
from tests.tiny_ham10000 import make_root
from tests.tiny_sources import make_sources
from tests.unit.evaluate.sets import MEL, NV, confident, examples_of

SHIFTS = {UNCHANGED: lambda photograph: photograph, "darker": gamma(1.4)}


def by_brightness(squares: np.ndarray) -> np.ndarray:
    return confident([MEL if square.mean() < 100 else NV for square in squares])


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    """Forty photographs; light ones are nevi, and half of those are dark enough for gamma to make them melanomas."""
    made = []
    for i in range(40):
        level = (60, 110, 60, 200)[i % 4]
        Image.new("RGB", (20, 20), (level,) * 3).save(tmp_path / f"{i}.png")
        made.append(Example(tmp_path / f"{i}.png", NV if level > 100 else MEL, f"L{i // 2}"))
    return made


def test_answers_are_in_the_order_of_the_images_under_each_shift(examples: list[Example]):
    answers = answers_under(SHIFTS, examples, by_brightness, "test")
    assert answers[UNCHANGED].argmax(1).tolist() == [e.label for e in examples]
    assert answers["darker"].argmax(1).tolist() == [MEL, MEL, MEL, NV] * 10


def test_a_change_is_paired(examples: list[Example]):
    plain, darker, _ = compare(answers_under(SHIFTS, examples, by_brightness, "test"), examples, 200, 0)
    assert plain.accuracy.value == plain.agreement.value == 1
    assert (plain.accuracy_change.low, plain.accuracy_change.high) == (0, 0)
    assert darker.accuracy.value == darker.agreement.value == 0.75
    assert darker.accuracy_change.value == -0.25 and darker.balanced_accuracy_change.value == -0.25
    assert darker.accuracy_change.low < -0.25 < darker.accuracy_change.high < 0


def test_two_models_that_err_on_different_images_have_an_interval_although_they_are_equally_good():
    labels = [NV] * 40
    answers = {UNCHANGED: confident([NV, MEL] * 20), "darker": confident([MEL, NV] * 20)}
    _, darker, _ = compare(answers, examples_of(labels), 200, 0)
    assert darker.accuracy_change.value == 0 and darker.agreement.value == 0
    assert darker.accuracy_change.low < -0.1 and darker.accuracy_change.high > 0.1


def test_the_last_row_is_the_mean_of_the_changes():
    labels = [NV, NV, MEL, MEL] * 10
    right, half, wrong = labels, [NV] * 40, [MEL, MEL, NV, NV] * 10
    answers = {UNCHANGED: confident(right), "a": confident(half), "b": confident(wrong), "c": confident(right)}
    *_, mean = compare(answers, examples_of(labels), 200, 0)
    assert mean.shift == robustness.MEAN
    assert mean.accuracy.value == mean.agreement.value == mean.balanced_accuracy.value == 0.5
    assert mean.accuracy_change.value == mean.balanced_accuracy_change.value == -0.5
    assert mean.accuracy_change.low < -0.5 < mean.accuracy_change.high


def test_the_table_is_kept_for_its_model_only(examples: list[Example], tmp_path: Path):
    figures = compare(answers_under(SHIFTS, examples, by_brightness, "test"), examples, 20, 0)
    made = Robustness("0123456789ab", "float32", {"validation": 40}, {"validation": figures})
    path = tmp_path / "robustness.json"
    assert robustness.read(path, "0123456789ab") is None
    robustness.write(made, path)
    assert robustness.read(path, "0123456789ab") == made
    assert robustness.read(path, "ffffffffffff") is None
    path.write_text("{}")
    with pytest.raises(DataError, match="does not hold figures of shifts"):
        robustness.read(path, "0123456789ab")


def test_the_table_as_markdown(examples: list[Example]):
    figures = compare(answers_under(SHIFTS, examples, by_brightness, "test"), examples, 20, 0)
    text = robustness_table(Robustness("0123456789ab", "bfloat16", {"validation": 40}, {"validation": figures}))
    assert "classified in bfloat16" in text
    assert "| 40 validation images | accuracy | difference |" in text
    assert "| none | 1.000 | | 1.000 | | 1.000 |" in text
    assert "| darker | 0.750 | -0.250 (" in text


def test_a_file_that_is_no_photograph_is_named(examples: list[Example]):
    examples[3].path.write_text("no image")
    with pytest.raises(DataError, match=r"3\.png: not an image"):
        answers_under(SHIFTS, examples, by_brightness, "test")


class Dark:
    """A classifier that knows its classes in another order and answers by brightness."""

    classes, arithmetic = list(reversed(CLASSES)), "float32"

    def __init__(self, checkpoint: Checkpoint) -> None:
        pass

    def probabilities(self, squares: np.ndarray) -> np.ndarray:
        return by_brightness(squares)[:, ::-1]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in place of a checkpoint, of a network that learned from two of three lesions of the tiny set."""
    root = make_root(tmp_path / "data")
    learned, _ = split_by_lesion(find_examples(root, "train"), 0.1, 0)
    monkeypatch.setattr(shifted, "Classifier", Dark)
    monkeypatch.setattr(Checkpoint, "load", lambda path: Checkpoint({}, training={"images": len(learned)}))
    path = tmp_path / "model.pth"
    path.write_text("weights")
    return path


def run(model: Path, *options: object) -> int:
    where = [model.parent / "data", "--modelname", model, "--output", model.parent / "card", "--resamples", 5]
    return main_robustness.main([str(argument) for argument in (*where, *options)])


def test_the_command_keeps_table_and_answers(model: Path, capsys):
    answers = model.parent / "answers"
    assert run(model, "--sets", "validation", "--answers", answers) == 0
    kept = robustness.read(model.parent / "card/robustness.json", sha256(model)[:12])
    assert kept is not None and robustness_table(kept) == capsys.readouterr().out.rstrip("\n")
    assert [row.shift for row in kept.sets["validation"]] == [*shifted.SHIFTS, robustness.MEAN]
    assert len(list(answers.iterdir())) == len(shifted.SHIFTS)
    darker = Predictions.read(answers / "validation_gamma_1.4_darker.csv")
    assert len(darker.examples) == kept.images["validation"] and darker.model == ("model.pth", sha256(model)[:12])
    row = next(row for row in kept.sets["validation"] if row.shift == "gamma 1.4 (darker)")
    right = darker.probabilities.argmax(1) == darker.labels
    assert right.mean() == pytest.approx(row.accuracy.value, abs=1e-6)
    assert set(darker.probabilities.argmax(1)) <= {MEL, NV}


def test_other_sources_have_tables_of_their_own(model: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shifted, "SHIFTS", SHIFTS)
    answers = model.parent / "answers"
    assert run(model, "--sets", "validation", "--also", make_sources(model.parent / "also"), "--answers", answers) == 0
    kept = robustness.read(model.parent / "card/robustness.json", sha256(model)[:12])
    assert kept is not None and list(kept.sets) == ["validation", "validation, elsewhere"]
    elsewhere = Predictions.read(answers / "validation_elsewhere_darker.csv")
    assert len(elsewhere.examples) == kept.images["validation, elsewhere"] > 0
    assert {e.source for e in elsewhere.examples} == {"milk10k"}
    assert f"| {len(elsewhere.examples)} validation images, elsewhere | accuracy |" in capsys.readouterr().out


def test_a_folder_that_is_not_the_models_is_refused(model: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Checkpoint, "load", lambda path: Checkpoint({}, training={"images": 3}))
    assert run(model, "--sets", "validation") == 2
    assert "the model learned from 3 images" in capsys.readouterr().err
