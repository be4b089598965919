"""The curve of the bias of rare classes, fitted to answers that are made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from torchvision.models import resnet34

from api.classes import CLASSES
from evaluate import trade_off
from evaluate.bootstrap import Bootstrap, clusters_of
from evaluate.dataset import DataError, find_examples, split_by_lesion
from evaluate.files import read_measured, write_json
from evaluate.predictions import Predictions, model_of
from evaluate.report import trade_off_table
from evaluate.sources import find_sources, split_sources
from evaluate.trade_off import TradeOff, best, bias_metrics, evaluate
from handler.model.checkpoint import Checkpoint
from tests.tiny_ham10000 import IMAGES, make_root
from tests.tiny_sources import make_sources
from tests.unit.evaluate.sets import random_predictions
from train import main_trade_off
from train import trade_off as fitted
from train.calibrate import fit_bias, fit_malignant_threshold, fit_plausible_threshold, fit_temperature, rarities
from train.trade_off import STRENGTHS, fit_trade_off, on_scale_of, own_strength

SHA = "0123456789ab"


@pytest.fixture(scope="module")
def answers() -> Predictions:
    return random_predictions(800)


@pytest.fixture(scope="module")
def logits(answers: Predictions) -> np.ndarray:
    return np.log(answers.probabilities.astype(float)) * 2


def curve_of(checkpoint: Checkpoint, logits: np.ndarray, answers: Predictions) -> TradeOff:
    return fit_trade_off(checkpoint, SHA, {"HAM10000": (logits, answers.examples)}, "test", 20, 0)


@pytest.fixture(scope="module")
def curve(logits: np.ndarray, answers: Predictions) -> TradeOff:
    checkpoint = Checkpoint({}, temperature=0.8, malignant_threshold=0.123, plausible_threshold=0.045)
    return curve_of(checkpoint, logits, answers)


def test_a_stronger_bias_finds_more_of_the_rare_classes_and_costs_accuracy(curve: TradeOff):
    assert [p.setting.strength for p in curve.points] == list(STRENGTHS)
    accuracy = [p.held_out.accuracy.value for p in curve.points]
    balanced = [p.held_out.balanced_accuracy.value for p in curve.points]
    assert accuracy[-1] < accuracy[0] and max(balanced) > balanced[0]


def test_the_models_own_bias_is_a_point_as_it_is(curve: TradeOff):
    (own,) = [p for p in curve.points if p.setting.strength == curve.own]
    assert curve.own == 0 and own.temperature == 0.8
    assert (own.setting.malignant_threshold, own.setting.plausible_threshold) == (0.123, 0.045)
    assert own.setting.exponent == 1 and set(own.setting.offsets.values()) == {0}


def test_each_strength_keeps_the_share_of_malignant_images_that_are_flagged(curve: TradeOff):
    for point in curve.points[1:]:
        assert point.held_out.flag_sensitivity.value == pytest.approx(0.95, abs=0.01)


def test_each_strength_has_sets_that_hold_the_true_diagnosis_as_often(
    curve: TradeOff, logits: np.ndarray, answers: Predictions
):
    served = softmax(logits / 0.8, axis=1).astype(np.float32)
    thresholds = [p.setting.plausible_threshold for p in curve.points[1:]]
    assert len(set(thresholds)) == len(thresholds)
    for point in curve.points[1:]:
        moved = point.setting.apply(served, list(CLASSES))
        of_truth = moved[np.arange(len(moved)), answers.labels]
        assert (of_truth >= point.setting.plausible_threshold).mean() == pytest.approx(0.9, abs=0.005)


def test_a_setting_gives_in_serving_what_was_measured(curve: TradeOff, logits: np.ndarray, answers: Predictions):
    """Applied to the model's own probabilities of the same images, every figure comes out as it was fitted."""
    served = softmax(logits / 0.8, axis=1).astype(np.float32)
    for point in evaluate(curve, served, answers.examples, 20, 0).points:
        assert point.evaluated is not None
        for name in ("accuracy", "balanced_accuracy", "flag_sensitivity", "flag_specificity"):
            ours, fitted = getattr(point.evaluated, name).value, getattr(point.held_out, name).value
            assert ours == pytest.approx(fitted, abs=2 / 150), name


def test_the_best_keeps_the_accuracy(curve: TradeOff, monkeypatch: pytest.MonkeyPatch):
    accuracies = sorted(p.held_out.accuracy.value for p in curve.points)
    for least in (accuracies[0], accuracies[4], accuracies[-1]):
        monkeypatch.setattr(trade_off, "LEAST_ACCURACY", least)
        accurate = [p for p in curve.points if p.held_out.accuracy.value >= least]
        assert best(curve.points) in accurate
        assert best(curve.points).held_out.balanced_accuracy.value == max(
            p.held_out.balanced_accuracy.value for p in accurate
        )
    monkeypatch.setattr(trade_off, "LEAST_ACCURACY", 1.0)
    sums = [p.held_out.accuracy.value + p.held_out.balanced_accuracy.value for p in curve.points]
    assert best(curve.points) == curve.points[int(np.argmax(sums))]


def test_the_strength_of_a_bias_is_found_again(answers: Predictions):
    rarity = rarities([(answers.probabilities, answers.labels)])
    assert own_strength(0.3 * rarity, rarity) == 0.3
    assert own_strength(0.33 * rarity, rarity) == 0.33


def test_a_bias_between_the_strengths_is_a_point_of_its_own(logits: np.ndarray, answers: Predictions):
    bias = (0.25 * rarities([(logits, answers.labels)])).tolist()
    strengths = [p.setting.strength for p in curve_of(Checkpoint({}, bias=bias), logits, answers).points]
    assert strengths == sorted({*STRENGTHS, 0.25})


def test_the_curve_is_kept_for_its_model_only(curve: TradeOff, tmp_path: Path):
    path = tmp_path / "trade_off.json"
    assert read_measured(path, TradeOff, SHA) is None
    write_json(curve, path)
    assert read_measured(path, TradeOff, SHA) == curve and read_measured(path, TradeOff, "f" * 12) is None
    path.write_text("[]")
    with pytest.raises(DataError, match="has another content than expected"):
        read_measured(path, TradeOff, SHA)


def test_the_curve_as_markdown(curve: TradeOff, answers: Predictions):
    text = trade_off_table(curve)
    assert "| strength | held-out accuracy | held-out balanced accuracy |" in text and "| 0 (own)" in text
    with_others = trade_off_table(evaluate(curve, answers.probabilities, answers.examples, 20, 0))
    assert "flag: sensitivity" in with_others and "(chosen)" in with_others


# Several sources


@pytest.fixture(scope="module")
def elsewhere() -> Predictions:
    """Answers of the same network to photographs of another source: less often right, with other classes."""
    return random_predictions(300, seed=1)


@pytest.fixture(scope="module")
def parts(logits: np.ndarray, answers: Predictions, elsewhere: Predictions) -> dict[str, tuple]:
    theirs = np.random.default_rng(2).normal(np.log(elsewhere.probabilities.astype(float)), 1.5)
    return {"HAM10000": (logits, answers.examples), "milk10k": (theirs, elsewhere.examples)}


@pytest.fixture(scope="module")
def both(parts: dict[str, tuple]) -> TradeOff:
    checkpoint = Checkpoint({}, temperature=0.8, malignant_threshold=0.123, plausible_threshold=0.045)
    return fit_trade_off(checkpoint, SHA, parts, "test", 20, 0)


def labelled(parts: dict[str, tuple]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(logits, np.array([e.label for e in examples])) for logits, examples in parts.values()]


def test_each_strength_is_fitted_to_all_sources(both: TradeOff, curve: TradeOff, parts: dict[str, tuple]):
    rarity = rarities(labelled(parts))
    for point, alone in zip(both.points[1:], curve.points[1:], strict=True):
        biased = [(logits + point.setting.strength * rarity, labels) for logits, labels in labelled(parts)]
        assert point.temperature == fit_temperature(biased) != pytest.approx(alone.temperature, rel=0.01)
        fitted = [(softmax(part / point.temperature, axis=1).astype(np.float32), labels) for part, labels in biased]
        assert point.setting.malignant_threshold == fit_malignant_threshold(fitted)
        assert point.setting.plausible_threshold == fit_plausible_threshold(fitted)
    assert both.images == 1100 and curve.images == 800


def test_ham10000s_figures_and_those_of_the_others_are_apart(both: TradeOff, parts: dict[str, tuple]):
    rarity = rarities(labelled(parts))
    for point in both.points:
        for measured, (logits, examples) in zip((point.held_out, point.elsewhere), parts.values(), strict=True):
            answers = softmax((logits + point.setting.strength * rarity) / point.temperature, axis=1)
            bootstrap = Bootstrap(clusters_of([e.lesion for e in examples]), 20, 0)
            threshold = point.setting.malignant_threshold
            assert measured == bias_metrics(answers.astype(np.float32), examples, threshold, bootstrap)
    assert both.points[0].elsewhere.accuracy.value < both.points[0].held_out.accuracy.value


def test_all_sources_but_the_first_are_pooled(both: TradeOff, parts: dict[str, tuple]):
    theirs, examples = parts["milk10k"]
    halves = {"b": (theirs[:100], examples[:100]), "c": (theirs[100:], examples[100:])}
    checkpoint = Checkpoint({}, temperature=0.8, malignant_threshold=0.123, plausible_threshold=0.045)
    three = fit_trade_off(checkpoint, SHA, {"HAM10000": parts["HAM10000"]} | halves, "test", 20, 0)
    assert three.points[0].elsewhere == both.points[0].elsewhere and three.images == 1100


@pytest.mark.parametrize("least", [0.5, 0.7, 0.8, 1.0])
def test_the_best_is_the_bias_that_training_chooses(
    both: TradeOff, parts: dict[str, tuple], monkeypatch: pytest.MonkeyPatch, least: float
):
    monkeypatch.setattr(trade_off, "LEAST_ACCURACY", least)
    chosen = best(both.points).setting.strength
    np.testing.assert_allclose(chosen * rarities(labelled(parts)), fit_bias(labelled(parts)))


def test_the_curve_shows_other_sources_only_if_there_are_any(both: TradeOff, curve: TradeOff, answers: Predictions):
    head = "| strength | held-out accuracy | held-out balanced accuracy |"
    text = trade_off_table(both)
    assert head + " held-out accuracy elsewhere | held-out balanced accuracy elsewhere |" in text
    assert "of at least 0.80 on HAM10000's. `MLBIO" in text
    assert "elsewhere" not in trade_off_table(curve)
    for made in (both, curve):
        evaluated = trade_off_table(evaluate(made, answers.probabilities, answers.examples, 20, 0))
        rows = [line for line in evaluated.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) == 1


def test_figures_of_other_sources_are_kept(both: TradeOff, tmp_path: Path):
    write_json(both, tmp_path / "trade_off.json")
    assert read_measured(tmp_path / "trade_off.json", TradeOff, SHA) == both


# The command


@pytest.mark.parametrize("factor", [0.5, 1.7])
def test_networks_of_another_scale_give_the_same_curve(
    factor: float, curve: TradeOff, logits: np.ndarray, answers: Predictions
):
    """Of the checkpoint's scale, its own temperature is the best for its own bias."""
    checkpoint = Checkpoint({}, temperature=curve.points[0].temperature, malignant_threshold=0.123)
    ours, theirs = (
        curve_of(checkpoint, on_scale_of(checkpoint, scale * logits, answers.labels), answers) for scale in (1, factor)
    )
    for one, other in zip(ours.points, theirs.points, strict=True):
        assert one.setting.exponent == pytest.approx(other.setting.exponent, rel=1e-3)
        assert one.setting.malignant_threshold == pytest.approx(other.setting.malignant_threshold, rel=1e-3)
    own, *others = theirs.points
    assert own.held_out.expected_calibration_error.value < 0.05
    assert max(p.held_out.expected_calibration_error.value for p in others) < 0.1


@pytest.fixture
def kept(tmp_path: Path, answers: Predictions) -> list[Path]:
    """Two files of kept answers, as folds leave them, and a checkpoint."""
    for name, part in {"0": slice(0, 400), "1": slice(400, 800)}.items():
        Predictions(answers.examples[part], answers.probabilities[part]).write(tmp_path / f"fold_{name}.csv")
    Checkpoint({}).save(tmp_path / "m.pth")
    return sorted(tmp_path.glob("fold_*.csv"))


def run(*arguments: object) -> int:
    return main_trade_off.main([str(a) for a in arguments])


def test_kept_answers_of_folds_give_a_curve(kept: list[Path], tmp_path: Path, capsys):
    assert run("--answers", *kept, "--modelname", tmp_path / "m.pth", "--output", tmp_path, "--resamples", 5) == 0
    assert "800 held-out images (2 folds, each by a network" in capsys.readouterr().out
    assert (tmp_path / "trade_off.json").is_file()


def test_what_cannot_work_is_one_line(kept: list[Path], tmp_path: Path, capsys):
    common = "--modelname", tmp_path / "m.pth", "--output", tmp_path
    cases = {
        "give either root, or --answers": common,
        "--also needs root": ("--answers", *kept, "--also", tmp_path, *common),
        "two of the files answer the same image": ("--answers", kept[0], *kept, *common),
        "none.pth does not exist": ("--answers", *kept, "--modelname", tmp_path / "none.pth", "--output", tmp_path),
        "is missing: it holds a row per image": ("--answers", tmp_path / "none.csv", *common),
    }
    for expected, arguments in cases.items():
        assert run(*arguments) == 2
        captured = capsys.readouterr()
        assert expected in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_logits_are_the_networks(one_thread, tmp_path: Path):
    examples = find_examples(make_root(tmp_path), "train")[:3]
    checkpoint = Checkpoint(resnet34(num_classes=len(CLASSES)).state_dict(), bias=[1.0] * 7, temperature=2.0)
    logits = fitted.logits_of(checkpoint, examples)
    assert logits.shape == (3, 7) and np.isfinite(logits).all() and len({*logits[0]}) == 7


def test_photographs_of_other_sources_are_answered_as_well(
    one_thread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    load_squares = fitted.load_squares
    monkeypatch.setattr(fitted, "load_squares", lambda *arguments: load_squares(*arguments, 64))
    root, also = make_root(tmp_path / "ham10000"), make_sources(tmp_path / "elsewhere")
    learned, _ = split_by_lesion(find_examples(root, "train"), 0.1, 0)
    Checkpoint(resnet34(num_classes=len(CLASSES)).state_dict(), training={"images": len(learned)}).save(
        tmp_path / "m.pth"
    )
    common = root, "--modelname", tmp_path / "m.pth", "--output", tmp_path, "--resamples", 5
    assert run(*common) == 0
    alone = capsys.readouterr().out
    assert run(*common, "--also", also) == 0
    held_out = IMAGES - len(learned)
    others = find_sources([also]).examples
    count = len(split_sources(others, []).validation)
    words = f"validation images of this model: {held_out} of HAM10000, {count} of milk10k, with equal weight of each"
    assert words in capsys.readouterr().out and "milk10k" not in alone
    kept = read_measured(tmp_path / "trade_off.json", TradeOff, model_of(tmp_path / "m.pth")[1])
    assert kept.images == held_out + count and all(point.elsewhere for point in kept.points)
