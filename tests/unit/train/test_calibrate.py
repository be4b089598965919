"""What is fitted after training: bias, temperature, thresholds and novelty."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.special import softmax

from api.classes import CLASSES, MALIGNANT
from evaluate import trade_off
from handler.model.checkpoint import Checkpoint
from handler.model.network import Network
from train import calibrate

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network(len(CLASSES)).eval()


def test_predict_gives_logits_and_intermediate_features_in_the_order_of_the_squares(network):
    squares = np.random.default_rng(0).integers(0, 256, (66, 32, 32, 3), dtype=np.uint8)
    features, logits = calibrate.predict(network, squares, CPU)
    assert features.shape == (66, 256) and logits.shape == (66, 7) and logits.dtype == np.float32
    alone = calibrate.predict(network, squares[65:], CPU)
    np.testing.assert_allclose(features[65:], alone[0], atol=1e-4)
    np.testing.assert_allclose(logits[65:], alone[1], atol=1e-4)


@pytest.mark.parametrize("temperature", [0.4, 0.8, 1.0, 1.5, 3.0])
def test_the_temperature_of_the_data_is_found(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2.5, (20_000, 7))
    labels = (logits / temperature + rng.gumbel(size=logits.shape)).argmax(1)  # draws from the softmax
    assert calibrate.fit_temperature([(logits, labels)]) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_temperature_stays_in_its_range_and_large_logits_are_finite(scale):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2.5, (2000, 7))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    low, high = calibrate.TEMPERATURES
    expected = low if scale < 1 else high
    assert calibrate.fit_temperature([(scale * logits, labels)]) == pytest.approx(expected, rel=1e-4)


# The bias


def sample(classes: list[int], spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 7) of a fair classifier that has learned how frequent its classes are, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(7), classes)
    evidence = rng.normal(0, spread, (len(labels), 7))
    evidence[np.arange(len(labels)), labels] += spread**2
    return evidence + np.log(np.maximum(classes, 1) / len(labels)), labels


def balanced(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(calibrate.balanced_accuracy(logits, labels))


def mean_of_both(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(calibrate.accuracy(logits, labels) + calibrate.balanced_accuracy(logits, labels)) / 2


@pytest.mark.parametrize("least, score", [(0.9, balanced), (0.999, mean_of_both)])
def test_the_bias_raises_rare_classes_while_enough_answers_stay_right(monkeypatch, least: float, score):
    monkeypatch.setattr(trade_off, "LEAST_ACCURACY", least)
    logits, labels = sample([40, 40, 40, 40, 40, 4000, 40], 1.6)
    bias = np.array(calibrate.fit_bias([(logits, labels)]))
    assert (np.delete(bias, 5) > bias[5]).all() and bias[5] >= 0
    rarity = -np.log(np.bincount(labels) / len(labels))
    biased = [logits + strength * rarity for strength in calibrate.STRENGTHS]
    accurate = [b for b in biased if calibrate.accuracy(b, labels) >= least]
    assert len(accurate) in (0, *range(2, len(biased))), "the limit matters, or cannot be kept"
    scores = [score(b, labels) for b in accurate or biased]
    assert score(logits + bias, labels) == max(scores) > scores[0]


@pytest.mark.parametrize("least", [0.8, 0.9, 0.999])
def test_the_first_parts_accuracy_and_the_balanced_accuracy_of_all_choose_the_bias(monkeypatch, least: float):
    monkeypatch.setattr(trade_off, "LEAST_ACCURACY", least)
    parts = [sample([40, 40, 40, 40, 40, 4000, 40], 1.6), sample([60, 200, 60, 20, 60, 100, 20], 1.2, 1)]
    shares = np.mean([np.bincount(labels) / len(labels) for _, labels in parts], axis=0)
    scores = {}
    for strength in calibrate.STRENGTHS:
        (first, labels), (second, others) = [(logits - strength * np.log(shares), labels) for logits, labels in parts]
        mean = (balanced(first, labels) + balanced(second, others)) / 2
        scores[strength] = float(calibrate.accuracy(first, labels)), mean
    accurate = {strength: mean for strength, (accuracy, mean) in scores.items() if accuracy >= least}
    sums = {strength: accuracy + mean for strength, (accuracy, mean) in scores.items()}
    strength = max(accurate, key=accurate.__getitem__) if accurate else max(sums, key=sums.__getitem__)
    np.testing.assert_allclose(calibrate.fit_bias(parts), -strength * np.log(shares))


def test_epochs_are_selected_by_their_score_with_the_bias_that_would_be_served(monkeypatch):
    parts = [sample([40, 40, 40, 40, 40, 4000, 40], 1.6), sample([60, 200, 60, 20, 60, 100, 20], 1.2, 1)]
    scores = {}
    for least in (0.0, 0.9):
        monkeypatch.setattr(trade_off, "LEAST_ACCURACY", least)
        bias = np.array(calibrate.fit_bias(parts))
        served = [(logits + bias, labels) for logits, labels in parts]
        scores[least] = calibrate.best_score(parts)
        assert scores[least] == pytest.approx(calibrate.selection_score(served))
    assert scores[0.9] < scores[0.0], "a strong bias does not count that is too inaccurate to be served"


def test_the_selection_score_is_the_mean_of_accuracy_and_balanced_accuracy():
    logits, labels = np.eye(7)[[0, 0, 0, 1]], np.array([0, 0, 1, 1])
    assert calibrate.selection_score([(logits, labels)]) == 0.75  # both are 3/4 here
    labels = np.array([0, 0, 0, 2])
    assert calibrate.selection_score([(logits, labels)]) == (3 / 4 + 1 / 2) / 2


def test_the_selection_score_of_several_parts_is_their_mean_balanced_accuracy():
    first = np.eye(7)[[0, 0, 0, 1]], np.array([0, 0, 0, 2])
    second = np.eye(7)[[0, 1, 1]], np.array([0, 0, 1])
    assert calibrate.selection_score([first, second]) == (1 / 2 + 3 / 4) / 2


def test_equally_frequent_classes_need_no_bias():
    logits, labels = sample([200] * 7, 1.5)
    bias = calibrate.fit_bias([(logits, labels)])
    assert len(set(bias)) == 1


def test_a_class_without_images_has_a_finite_bias():
    logits, labels = sample([50, 50, 50, 0, 50, 500, 50], 1.5)
    assert np.isfinite(calibrate.fit_bias([(logits, labels)])).all()


def test_the_temperature_is_fitted_to_the_biased_logits(network):
    logits, labels = sample([300] * 7, 1.0)
    checkpoint = Checkpoint(network.state_dict(), bias=[2.0, 0, 0, 0, 0, 0, 0])
    others, their_labels = sample([30] * 7, 0.5)
    probabilities = calibrate.calibrate(checkpoint, [(logits, labels), (others, their_labels)])
    biased = [(logits + checkpoint.bias, labels), (others + checkpoint.bias, their_labels)]
    assert checkpoint.temperature == calibrate.fit_temperature(biased) != 1
    for (part, truth), (expected, expected_truth) in zip(probabilities, biased, strict=True):
        np.testing.assert_allclose(part, softmax(expected / checkpoint.temperature, axis=1))
        assert truth is expected_truth


# Several parts


FITTED = {
    "temperature": calibrate.fit_temperature,
    "malignant threshold": lambda parts: calibrate.fit_malignant_threshold([(softmax(p, 1), y) for p, y in parts]),
    "rarities": calibrate.rarities,
    "bias": calibrate.fit_bias,
    "score of an epoch": calibrate.best_score,
    "novelty": lambda parts: calibrate.fit_novelty(parts[0][0], [logits for logits, _ in parts]).limit,
}


@pytest.mark.parametrize("fit", FITTED.values(), ids=FITTED)
def test_each_part_has_the_same_weight_whatever_its_number_of_images(fit):
    first, second = sample([40, 40, 40, 40, 40, 400, 40], 1.6), sample([60, 200, 60, 20, 60, 100, 20], 1.0, 1)
    tripled = np.tile(second[0], (3, 1)), np.tile(second[1], 3)
    assert fit([first, tripled]) == pytest.approx(fit([first, second]), rel=1e-5)
    pooled = np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])
    for parts in ([first], [second], [pooled]):
        assert fit([first, second]) != pytest.approx(fit(parts), rel=1e-5)


@pytest.mark.parametrize("share, value", [(0.1, 1), (0.125, 1), (0.13, 2), (0.375, 3), (0.4, 4), (0.5, 4), (0.6, 9)])
def test_a_quantile_of_parts(share, value):
    """Of the values, each of the four of one part counts as an eighth, and the only one of the other as a half."""
    for parts in ([[3, 1, 4, 2], [9]], [[9], [3, 1, 4, 2]]):
        assert calibrate.quantile([np.array(part) for part in parts], share) == value


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95, 0.98, 1.0])
def test_a_quantile_of_one_part_is_numpys(share):
    values = np.random.default_rng(0).normal(size=100)
    assert calibrate.quantile([values], share) == np.quantile(values, share, method="inverted_cdf")


def test_a_part_without_malignant_images_does_not_move_the_malignant_threshold():
    sick = probabilities(list(np.linspace(0.2, 0.8, 40))), np.full(40, list(CLASSES).index("mel"))
    well = probabilities([0.1, 0.9]), np.full(2, list(CLASSES).index("nv"))
    assert calibrate.fit_malignant_threshold([sick, well]) == calibrate.fit_malignant_threshold([sick])


# The malignant threshold


def probabilities(sums: list[float]) -> np.ndarray:
    """Rows whose malignant diagnoses have these sums, spread over all three."""
    rows = np.zeros((len(sums), len(CLASSES)))
    for column, dx in enumerate(CLASSES):
        rows[:, column] = np.array(sums) / 3 if dx in MALIGNANT else (1 - np.array(sums)) / 4
    return rows


def test_the_malignant_threshold_is_the_largest_that_finds_95_of_100():
    rng = np.random.default_rng(0)
    labels = np.array([list(CLASSES).index(MALIGNANT[i % 3]) for i in range(100)] + [list(CLASSES).index("nv")] * 300)
    sums = np.concatenate([rng.uniform(0.1, 1, 100), rng.uniform(0, 0.4, 300)])
    threshold = calibrate.fit_malignant_threshold([(probabilities(sums), labels)])
    together = probabilities(sums)[:, [c in MALIGNANT for c in CLASSES]].sum(1)
    assert (together[:100] >= threshold).mean() == 0.95
    assert (together[:100] >= np.nextafter(threshold, 1)).mean() < 0.95


@pytest.mark.parametrize("count, found", [(1, 1), (19, 19), (20, 19), (39, 38)])
def test_the_threshold_misses_no_more_than_its_share_of_few_images(count, found):
    labels = np.full(count, list(CLASSES).index("mel"))
    rows = probabilities(list(np.linspace(0.2, 0.8, count)))
    threshold = calibrate.fit_malignant_threshold([(rows, labels)])
    assert (rows[:, [c in MALIGNANT for c in CLASSES]].sum(1) >= threshold).sum() == found


def test_without_malignant_images_there_is_no_threshold():
    well = probabilities([0.2, 0.3]), np.full(2, list(CLASSES).index("nv"))
    assert calibrate.fit_malignant_threshold([well]) is None


# The threshold of the sets


def held_out(count: int, seed: int = 0, sharpness: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and true classes of ``count`` images; the sharper, the more often the most probable is true."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, count)
    logits = rng.normal(0, 1, (count, 7))
    logits[np.arange(count), labels] += sharpness
    return softmax(logits, axis=1), labels


@pytest.mark.parametrize("count", [1, 8, 9, 10, 18, 19, 28, 29, 30, 99, 100, 250])
def test_the_sets_are_those_of_split_conformal_prediction(count: int):
    """As the definition has it: scores no larger than the ceil((N + 1) * 0.9)-th smallest of the held-out ones."""
    rows, labels = held_out(count)
    scores = np.sort(1 - rows[np.arange(count), labels])
    rank = math.ceil(Fraction(9, 10) * (count + 1))
    limit = scores[rank - 1] if rank <= count else math.inf
    threshold = calibrate.fit_plausible_threshold([(rows, labels)])
    for sets in (rows, held_out(300, seed=1)[0]):
        np.testing.assert_array_equal(sets >= threshold, 1 - sets <= limit)


def test_new_images_are_covered_as_often_as_promised():
    """Over many draws: at least 0.9, and at most 1 / (N + 1) above it."""
    covered = []
    for seed in range(400):
        rows, labels = held_out(49 + 100, seed)
        threshold = calibrate.fit_plausible_threshold([(rows[:49], labels[:49])])
        covered.append((rows[np.arange(149), labels] >= threshold)[49:].mean())
    assert 0.9 - 0.007 < np.mean(covered) < 0.9 + 1 / 50 + 0.007


def test_the_threshold_covers_every_domain():
    easy, hard = held_out(500, 1, 4.0), held_out(300, 2, 1.0)
    alone = [calibrate.fit_plausible_threshold([part]) for part in (easy, hard)]
    assert alone[1] < alone[0]
    for parts in ([easy, hard], [hard, easy]):
        assert calibrate.fit_plausible_threshold(parts) == alone[1]
    together = np.concatenate([easy[0], hard[0]]), np.concatenate([easy[1], hard[1]])
    pooled = calibrate.fit_plausible_threshold([together])
    assert (hard[0][np.arange(300), hard[1]] >= pooled).mean() < 0.9, "which the images of both together would not"


# Novelty


def test_novelty_is_the_mahalanobis_distance_in_units_of_its_limit():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(5, 5))
    known, validation = rng.normal(size=(5000, 5)) @ mixing + 3, rng.normal(size=(1000, 5)) @ mixing + 3
    novelty = calibrate.fit_novelty(known, [validation])
    scores = novelty(torch.from_numpy(validation).float()).numpy()
    assert (scores > 1).mean() == pytest.approx(0.02, abs=0.002)
    covariance = np.cov(known.T)
    covariance += calibrate.SHRINKAGE * np.trace(covariance) / 5 * np.eye(5)
    far = validation - known.mean(0)
    expected = np.einsum("ni,ij,nj->n", far, np.linalg.inv(covariance), far)
    np.testing.assert_allclose(scores * novelty.limit, expected, rtol=1e-3)


def test_a_constant_feature_has_finite_novelty():
    known = np.random.default_rng(0).normal(size=(50, 4))
    known[:, 2] = 7.0
    novelty = calibrate.fit_novelty(known, [known])
    scores = novelty(torch.tensor([[0.0, 0, 7, 0], [0, 0, 17, 0]]))
    assert torch.isfinite(scores).all() and scores[1] > 10 * scores[0]


def test_everything_fitted_is_saved_with_the_checkpoint(network, tmp_path):
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 256, (14, 32, 32, 3), dtype=np.uint8)
    checkpoint = Checkpoint(network.state_dict())
    assert checkpoint.malignant_threshold is None and checkpoint.novelty is None
    calibrate.complete(checkpoint, squares, [(squares, np.arange(14) % 7)], CPU)
    checkpoint.save(tmp_path / "m.pth")
    loaded = Checkpoint.load(tmp_path / "m.pth")
    assert loaded.temperature == checkpoint.temperature != 1 and loaded.bias == checkpoint.bias
    assert loaded.ranges == checkpoint.ranges and len(loaded.ranges) == 36
    assert loaded.rounding_errors.keys() == loaded.ranges.keys()
    torch.testing.assert_close(loaded.rounding_errors, checkpoint.rounding_errors)
    assert loaded.malignant_threshold == checkpoint.malignant_threshold and 0 < loaded.malignant_threshold < 1
    assert loaded.plausible_threshold == checkpoint.plausible_threshold and 0 < loaded.plausible_threshold < 1
    features, _ = calibrate.predict(network, squares, CPU)
    torch.testing.assert_close(
        loaded.novelty(torch.from_numpy(features)), checkpoint.novelty(torch.from_numpy(features)), rtol=1e-4, atol=1e-4
    )


def test_everything_is_fitted_to_all_parts(network):
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8) for count in (14, 21))
    held_out = [(first, np.arange(14) ** 2 % 7), (second // 2, np.arange(21) % 7)]
    checkpoint = Checkpoint(network.state_dict())
    answers = calibrate.complete(checkpoint, first, held_out, CPU)
    same = checkpoint.network().to(memory_format=torch.channels_last)
    features, logits = zip(*(calibrate.predict(same, squares, CPU) for squares, _ in held_out), strict=True)
    parts = [(part, labels) for part, (_, labels) in zip(logits, held_out, strict=True)]
    assert checkpoint.bias == pytest.approx(calibrate.fit_bias(parts))
    biased = [(part + checkpoint.bias, labels) for part, labels in parts]
    assert checkpoint.temperature == pytest.approx(calibrate.fit_temperature(biased))
    assert checkpoint.malignant_threshold == calibrate.fit_malignant_threshold(answers)
    assert checkpoint.plausible_threshold == calibrate.fit_plausible_threshold(answers)
    assert checkpoint.novelty.limit == pytest.approx(calibrate.fit_novelty(features[0], features).limit)
    assert [part.shape for part, _ in answers] == [(14, 7), (21, 7)]
    for (rows, labels), (part, truth) in zip(answers, biased, strict=True):
        np.testing.assert_allclose(rows, softmax(part / checkpoint.temperature, axis=1), rtol=1e-5)
        assert labels is truth


def test_validation_images_without_a_malignant_one_are_accepted(network, tmp_path):
    squares = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    checkpoint = Checkpoint(network.state_dict())
    calibrate.complete(checkpoint, squares, [(squares, np.full(4, list(CLASSES).index("nv")))], CPU)
    checkpoint.save(tmp_path / "m.pth")
    assert Checkpoint.load(tmp_path / "m.pth").malignant_threshold is None
    assert checkpoint.novelty is not None and checkpoint.ranges is not None
