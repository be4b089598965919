"""Two models compared, by their predictions and by their score cards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from evaluate import main_compare, metrics
from evaluate.bootstrap import Estimate
from evaluate.comparison import compare, pair_predictions, regressions
from evaluate.dataset import DataError
from evaluate.predictions import Predictions
from evaluate.score_card import ScoreCard
from evaluate.scoring import score_card
from tests.conftest import ROOT
from tests.unit.evaluate.sets import MEL, NV, confident, examples_of, random_predictions


@pytest.fixture
def sides() -> tuple[Predictions, Predictions]:
    """A model, and a better one with the images in another order."""
    first = random_predictions(300)
    better = first.probabilities * 0.3 + np.eye(7, dtype=np.float32)[first.labels] * 0.7
    order = np.random.default_rng(1).permutation(300)
    return first, Predictions([first.examples[i] for i in order], better[order], model=("other.pth", "ff"))


def test_metrics_are_those_of_the_score_card_and_differences_are_paired(sides):
    first, second = sides
    found = {d.name: d for d in compare(pair_predictions([first], [second]), 100, 3)}
    for name in ("accuracy", "balanced_accuracy", "macro_auroc", "log_loss", "expected_calibration_error"):
        assert found[name].first == getattr(score_card(first, 100, 3).metrics, name)
        change = found[name].change
        assert change.value == pytest.approx(found[name].second.value - found[name].first.value, abs=2e-6)
        assert change.low <= change.value <= change.high
    assert found["accuracy"].second.value == 1 and found["accuracy"].change.low > 0 > found["log_loss"].change.high
    recalls = metrics.recalls(first.probabilities, first.labels)
    assert found["melanomas_found"].first.value == pytest.approx(recalls[MEL], abs=1e-6)
    for difference in compare(pair_predictions([second], [second]), 20, 0):
        assert difference.change == Estimate(0, 0, 0)


def test_the_same_images_may_be_in_another_file():
    """Under two shifts: one model loses the melanoma under the second, the other does not."""
    images = examples_of([NV, MEL])
    right, wrong = (Predictions(images, confident(predicted)) for predicted in ([NV, MEL], [NV, NV]))
    pair = pair_predictions([right, wrong], [right, right])
    assert len(pair.examples) == 4
    accuracy = compare(pair, 20, 0)[0]
    assert (accuracy.first.value, accuracy.second.value) == (0.75, 1)


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda p: [p, p], "1 files of predictions and 2"),
        (lambda p: [Predictions(p.examples[1:], p.probabilities[1:])], "have different images"),
        (
            lambda p: [Predictions([replace(p.examples[0], label=1 - p.examples[0].label % 2), *p.examples[1:]],
                                   p.probabilities)],
            "label them differently",
        ),
        (
            lambda p: [Predictions([*p.examples, p.examples[0]], p.probabilities[[*range(300), 0]])],
            "has an image twice",
        ),
    ],
    ids=["files", "images", "labels", "twice"],
)  # fmt: skip
def test_other_images_cannot_be_compared(sides, change, expected: str):
    with pytest.raises(DataError, match=expected):
        pair_predictions([sides[0]], change(sides[0]))


def test_the_command_prints_a_table(sides, tmp_path: Path, capsys):
    for name, side in zip(("a.csv", "b.csv"), sides, strict=True):
        side.write(tmp_path / name)
    command = ["--answers", str(tmp_path / "a.csv"), "--with", str(tmp_path / "b.csv"), "--resamples", "20"]
    assert main_compare.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| 300 answers | first | second | difference |"
    assert lines[2].startswith("| accuracy | 0.") and lines[-1].startswith("| melanomas found | 0.")
    assert main_compare.main([*command[:3], str(tmp_path / "none.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err


@pytest.fixture
def card() -> ScoreCard:
    return msgspec.json.decode((ROOT / "model_store/score_card/score_card.json").read_bytes(), type=ScoreCard)


def with_metric(card: ScoreCard, name: str, value: float | None) -> ScoreCard:
    metrics = msgspec.structs.replace(card.metrics, **{name: Estimate(value, value, value)})
    return msgspec.structs.replace(card, metrics=metrics)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_auroc", "expected_calibration_error"])
def test_a_metric_worse_than_the_served_interval_is_an_objection(card: ScoreCard, name: str):
    estimate = getattr(card.metrics, name)
    limit, best, step = (estimate.high, 0.0, 0.001) if "error" in name else (estimate.low, 1.0, -0.001)
    for value in (estimate.value, limit, best, None):
        assert regressions(with_metric(card, name, value), card) == []
    (objection,) = regressions(with_metric(card, name, limit + step), card)
    assert name.replace("_", " ") in objection and ("above" if "error" in name else "below") in objection


def test_cards_of_other_images_cannot_be_compared(card: ScoreCard):
    (objection,) = regressions(msgspec.structs.replace(card, images=100), card)
    assert "same images" in objection
