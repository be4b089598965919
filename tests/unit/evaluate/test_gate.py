"""Whether a model may replace another one."""

from __future__ import annotations

import msgspec
import pytest

from evaluate.figures import Figure
from evaluate.gate import objections
from evaluate.score_card import ScoreCard
from tests.conftest import ROOT


@pytest.fixture
def card() -> ScoreCard:
    return msgspec.json.decode((ROOT / "model_store/score_card/score_card.json").read_bytes(), type=ScoreCard)


def with_figure(card: ScoreCard, name: str, value: float | None) -> ScoreCard:
    metrics = msgspec.structs.replace(card.metrics, **{name: Figure(value, value, value)})
    return msgspec.structs.replace(card, metrics=metrics)


def test_a_model_may_replace_itself(card: ScoreCard):
    assert objections(card, card) == []


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_auroc"])
def test_a_figure_below_the_interval_is_an_objection(card: ScoreCard, name: str):
    low = getattr(card.metrics, name).low
    assert objections(with_figure(card, name, low), card) == []
    assert objections(with_figure(card, name, 1.0), card) == []
    (objection,) = objections(with_figure(card, name, low - 0.001), card)
    assert name.replace("_", " ") in objection and "below" in objection


def test_a_greater_calibration_error_is_one(card: ScoreCard):
    high = card.metrics.expected_calibration_error.high
    assert high is not None
    assert objections(with_figure(card, "expected_calibration_error", 0.0), card) == []
    (objection,) = objections(with_figure(card, "expected_calibration_error", high + 0.001), card)
    assert "above" in objection


def test_a_figure_that_is_not_defined_is_none(card: ScoreCard):
    assert objections(with_figure(card, "macro_auroc", None), card) == []


def test_cards_of_other_images_cannot_be_compared(card: ScoreCard):
    (objection,) = objections(msgspec.structs.replace(card, images=100), card)
    assert "same images" in objection
