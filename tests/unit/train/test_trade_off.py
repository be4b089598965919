"""The curve of the bias of rare classes, fitted to answers that are made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from api.classes import CLASSES
from evaluate import trade_off
from evaluate.bootstrap import Bootstrap, clusters_of
from evaluate.dataset import find_examples, split_by_lesion
from evaluate.files import read_measured
from evaluate.predictions import Predictions, model_of
from evaluate.report import trade_off_table
from evaluate.sources import find_sources, split_sources
from evaluate.trade_off import TradeOff, best, bias_metrics, evaluate
from handler.model.checkpoint import Checkpoint
from handler.model.network import Network
from tests.tiny_ham10000 import IMAGES, make_root
from tests.tiny_sources import make_sources
from tests.unit.evaluate.sets import random_predictions
from train import main_trade_off, validation
from train.calibrate import fit_bias, fit_malignant_threshold, fit_plausible_threshold, fit_temperature, rarities
from train.trade_off import STRENGTHS, fit_trade_off, own_strength

SHA = "0123456789ab"
CHECKPOINT = Checkpoint({}, temperature=0.8, malignant_threshold=0.123, plausible_threshold=0.045)


@pytest.fixture(scope="module")
def answers() -> Predictions:
    return random_predictions(800)


@pytest.fixture(scope="module")
def parts(answers: Predictions) -> dict[str, tuple]:
    """Answers of one network to HAM10000, and to other photographs, which it is less often right about."""
    elsewhere = random_predictions(300, seed=1)
    theirs = np.random.default_rng(2).normal(np.log(elsewhere.probabilities.astype(float)), 1.5)
    ours = np.log(answers.probabilities.astype(float)) * 2
    return {"HAM10000": (ours, answers.examples), "milk10k": (theirs, elsewhere.examples)}


def labelled(parts: dict[str, tuple]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(logits, np.array([e.label for e in examples])) for logits, examples in parts.values()]


@pytest.fixture(scope="module")
def curve(parts: dict[str, tuple]) -> TradeOff:
    return fit_trade_off(CHECKPOINT, SHA, {"HAM10000": parts["HAM10000"]}, "test", 20, 0)


@pytest.fixture(scope="module")
def both(parts: dict[str, tuple]) -> TradeOff:
    return fit_trade_off(CHECKPOINT, SHA, parts, "test", 20, 0)


def test_the_models_own_bias_is_a_point_as_it_is(curve: TradeOff):
    (own,) = [p for p in curve.points if p.setting.strength == curve.own]
    assert curve.own == 0 and own.temperature == 0.8
    assert (own.setting.malignant_threshold, own.setting.plausible_threshold) == (0.123, 0.045)
    assert own.setting.exponent == 1 and set(own.setting.offsets.values()) == {0}


def test_a_bias_between_the_strengths_is_a_point_of_its_own(parts: dict[str, tuple]):
    rarity = rarities(labelled(parts))
    assert own_strength(0.3 * rarity, rarity) == 0.3
    curve = fit_trade_off(Checkpoint({}, bias=(0.25 * rarity).tolist()), SHA, parts, "test", 5, 0)
    assert [p.setting.strength for p in curve.points] == sorted([*STRENGTHS, 0.25]) and curve.own == 0.25


def test_a_setting_gives_in_serving_what_was_measured(curve: TradeOff, parts: dict[str, tuple], answers: Predictions):
    """Applied to the model's own probabilities of the same images, every figure comes out as it was fitted."""
    served = softmax(parts["HAM10000"][0] / 0.8, axis=1).astype(np.float32)
    for point in evaluate(curve, served, answers.examples, 20, 0).points:
        assert point.evaluated is not None
        for name in ("accuracy", "balanced_accuracy", "flag_sensitivity", "flag_specificity"):
            evaluated, fitted = getattr(point.evaluated, name).value, getattr(point.held_out, name).value
            assert evaluated == pytest.approx(fitted, abs=2 / 150), name
        if point.setting.strength != curve.own:
            assert point.held_out.flag_sensitivity.value == pytest.approx(0.95, abs=0.01)
            moved = point.setting.apply(served, list(CLASSES))
            of_truth = moved[np.arange(len(moved)), answers.labels]
            assert (of_truth >= point.setting.plausible_threshold).mean() == pytest.approx(0.9, abs=0.005)


@pytest.mark.parametrize("least", [0.5, 0.7, 0.8, 1.0])
def test_the_best_is_the_bias_that_training_chooses(
    both: TradeOff, parts: dict[str, tuple], monkeypatch: pytest.MonkeyPatch, least: float
):
    monkeypatch.setattr(trade_off, "MIN_ACCURACY", least)
    chosen = best(both.points).setting.strength
    np.testing.assert_allclose(chosen * rarities(labelled(parts)), fit_bias(labelled(parts)))


def test_each_strength_is_fitted_to_all_sources_and_measured_on_each(both: TradeOff, parts: dict[str, tuple]):
    rarity = rarities(labelled(parts))
    for point in both.points[1:]:
        biased = [(logits + point.setting.strength * rarity, labels) for logits, labels in labelled(parts)]
        assert point.temperature == fit_temperature(biased)
        fitted = [(softmax(part / point.temperature, axis=1).astype(np.float32), labels) for part, labels in biased]
        threshold = point.setting.malignant_threshold
        assert threshold == fit_malignant_threshold(fitted)
        assert point.setting.plausible_threshold == fit_plausible_threshold(fitted)
        for measured, (rows, _), (_, examples) in zip(
            (point.held_out, point.elsewhere), fitted, parts.values(), strict=True
        ):
            bootstrap = Bootstrap(clusters_of([e.lesion for e in examples]), 20, 0)
            assert measured == bias_metrics(rows, examples, threshold, bootstrap)
    assert both.images == 1100


def test_all_sources_but_the_first_are_pooled(both: TradeOff, parts: dict[str, tuple]):
    theirs, examples = parts["milk10k"]
    halves = {"b": (theirs[:100], examples[:100]), "c": (theirs[100:], examples[100:])}
    three = fit_trade_off(CHECKPOINT, SHA, {"HAM10000": parts["HAM10000"]} | halves, "test", 20, 0)
    assert three.points[0].elsewhere == both.points[0].elsewhere and three.images == 1100


def test_the_table_has_other_sources_and_the_cards_images_only_if_there_are_any(
    both: TradeOff, curve: TradeOff, answers: Predictions
):
    head = "| strength | held-out accuracy | held-out balanced accuracy |"
    assert head + " held-out accuracy elsewhere | held-out balanced accuracy elsewhere |" in trade_off_table(both)
    assert "elsewhere" not in trade_off_table(curve) and "| 0 (own)" in trade_off_table(curve)
    for made in (both, curve):
        evaluated = trade_off_table(evaluate(made, answers.probabilities, answers.examples, 20, 0))
        assert "flag: sensitivity" in evaluated and "(chosen)" in evaluated
        rows = [line for line in evaluated.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) == 1


def test_the_command_answers_the_held_out_images_of_all_sources(
    one_thread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    load_squares = validation.load_squares
    monkeypatch.setattr(validation, "load_squares", lambda *arguments: load_squares(*arguments, 32))
    root, also, model = make_root(tmp_path / "ham10000"), make_sources(tmp_path / "elsewhere"), tmp_path / "m.pth"
    command = [str(word) for word in (root, "--modelname", model, "--output", tmp_path, "--resamples", 5)]
    assert main_trade_off.main(command) == 2
    error = capsys.readouterr().err
    assert "m.pth does not exist" in error and error.count("\n") == 1
    learned, _ = split_by_lesion(find_examples(root, "train"), 0.1, 0)
    Checkpoint(Network(len(CLASSES)).state_dict(), training={"images": len(learned)}).save(model)
    assert main_trade_off.main(command) == 0
    assert "milk10k" not in capsys.readouterr().out
    assert main_trade_off.main([*command, "--also", str(also)]) == 0
    held_out, count = IMAGES - len(learned), len(split_sources(find_sources([also]).examples, []).validation)
    words = f"validation images of this model: {held_out} of HAM10000, {count} of milk10k, with equal weight of each"
    assert words in capsys.readouterr().out
    kept = read_measured(tmp_path / "trade_off.json", TradeOff, model_of(model)[1])
    assert kept.images == held_out + count and all(point.elsewhere for point in kept.points)
