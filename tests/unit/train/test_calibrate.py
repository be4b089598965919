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
from evaluate.metrics import accuracy, balanced_accuracy
from handler.model.checkpoint import Checkpoint
from handler.model.network import Network, Normalise
from train import calibrate

CPU = torch.device("cpu")
MEL, NV = (list(CLASSES).index(dx) for dx in ("mel", "nv"))


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network(len(CLASSES)).eval()


def test_predict_gives_logits_and_intermediate_features_in_the_order_of_the_squares(network):
    squares = np.random.default_rng(0).integers(0, 256, (calibrate.PREDICTION_BATCH + 2, 32, 32, 3), dtype=np.uint8)
    features, logits = calibrate.predict(network, squares, CPU)
    with torch.inference_mode():
        normalised = Normalise()(torch.from_numpy(squares).permute(0, 3, 1, 2).float())
        expected_features, expected_logits = network.features_and_logits(normalised)
    np.testing.assert_allclose(features, expected_features, atol=1e-4)
    np.testing.assert_allclose(logits, expected_logits, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_the_data_is_found(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2.5, (20_000, 7))
    labels = (logits / temperature + rng.gumbel(size=logits.shape)).argmax(1)  # draws from the softmax
    assert calibrate.fit_temperature([(logits, labels)]) == pytest.approx(temperature, rel=0.05)
    low, high = calibrate.TEMPERATURES
    assert calibrate.fit_temperature([(logits / 100, labels)]) == pytest.approx(low, rel=1e-4)
    assert calibrate.fit_temperature([(logits * 100, labels)]) == pytest.approx(high, rel=1e-4)


# The bias


def sample(classes: list[int], spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 7) of a fair classifier that has learned how frequent its classes are, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(7), classes)
    evidence = rng.normal(0, spread, (len(labels), 7))
    evidence[np.arange(len(labels)), labels] += spread**2
    return evidence + np.log(np.maximum(classes, 1) / len(labels)), labels


def two_parts() -> list[tuple[np.ndarray, np.ndarray]]:
    return [sample([40, 40, 40, 40, 40, 4000, 40], 1.6), sample([60, 200, 60, 20, 60, 100, 20], 1.2, 1)]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("least", [0.8, 0.9, 0.999])
def test_the_first_parts_accuracy_and_the_balanced_accuracy_of_all_choose_the_bias(monkeypatch, least, count):
    monkeypatch.setattr(trade_off, "MIN_ACCURACY", least)
    parts = two_parts()[:count]
    shares = np.mean([np.bincount(labels) / len(labels) for _, labels in parts], axis=0)
    scores = {}
    for strength in calibrate.STRENGTHS:
        biased = [(logits - strength * np.log(shares), labels) for logits, labels in parts]
        scores[strength] = accuracy(*biased[0]), np.mean([balanced_accuracy(*part) for part in biased])
    accurate = {strength: mean for strength, (first, mean) in scores.items() if first >= least}
    sums = {strength: first + mean for strength, (first, mean) in scores.items()}
    strength = max(accurate, key=accurate.__getitem__) if accurate else max(sums, key=sums.__getitem__)
    np.testing.assert_allclose(calibrate.fit_bias(parts), -strength * np.log(shares))


def test_equally_frequent_classes_need_no_bias_and_a_class_without_images_has_a_finite_one():
    assert len(set(calibrate.fit_bias([sample([200] * 7, 1.5)]))) == 1
    assert np.isfinite(calibrate.fit_bias([sample([50, 50, 50, 0, 50, 500, 50], 1.5)])).all()


def test_epochs_are_selected_by_their_score_with_the_bias_that_would_be_served(monkeypatch):
    scores = []
    for least in (0.0, 0.9):
        monkeypatch.setattr(trade_off, "MIN_ACCURACY", least)
        bias = np.array(calibrate.fit_bias(two_parts()))
        balanced = [balanced_accuracy(logits + bias, labels) for logits, labels in two_parts()]
        scores.append(calibrate.selection_score(two_parts()))
        assert scores[-1] == pytest.approx(np.mean(balanced))
    assert scores[1] < scores[0], "a strong bias does not count that is too inaccurate to be served"


def test_the_score_of_a_single_part_is_the_mean_of_accuracy_and_balanced_accuracy():
    logits, labels = 100 * np.eye(7)[[0, 0, 0, 1]], np.array([0, 0, 0, 2])
    assert calibrate.selection_score([(logits, labels)]) == (3 / 4 + 1 / 2) / 2


# Several parts


FITTED = {
    "temperature": calibrate.fit_temperature,
    "malignant threshold": lambda parts: calibrate.fit_malignant_threshold([(softmax(p, 1), y) for p, y in parts]),
    "rarities": calibrate.rarities,
    "bias": calibrate.fit_bias,
    "score of an epoch": calibrate.selection_score,
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


# The malignant threshold


def probabilities(sums: np.ndarray) -> np.ndarray:
    """Rows whose malignant diagnoses have these sums."""
    return np.stack([sums / 3 if dx in MALIGNANT else (1 - sums) / 4 for dx in CLASSES], axis=1)


@pytest.mark.parametrize("count, found", [(1, 1), (19, 19), (20, 19), (39, 38), (100, 95)])
def test_the_malignant_threshold_is_the_largest_that_misses_one_in_twenty(count, found):
    rng = np.random.default_rng(0)
    sums = np.concatenate([rng.uniform(0.1, 1, count), rng.uniform(0, 0.4, 300)])
    rows, labels = probabilities(sums), np.repeat([MEL, NV], [count, 300])
    threshold = calibrate.fit_malignant_threshold([(rows, labels)])
    sums = rows[:count, [dx in MALIGNANT for dx in CLASSES]].sum(1)
    assert (sums >= threshold).sum() == found and (sums >= np.nextafter(threshold, 1)).sum() < found


def test_parts_without_malignant_images_do_not_move_the_malignant_threshold():
    sick = probabilities(np.linspace(0.2, 0.8, 40)), np.full(40, MEL)
    well = probabilities(np.array([0.1, 0.9])), np.full(2, NV)
    assert calibrate.fit_malignant_threshold([sick, well]) == calibrate.fit_malignant_threshold([sick])
    assert calibrate.fit_malignant_threshold([well]) is None


# The threshold of the diagnoses that cannot be excluded


def held_out(count: int, seed: int = 0, sharpness: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and true classes of ``count`` images; the sharper, the more often the most probable is true."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, count)
    logits = rng.normal(0, 1, (count, 7))
    logits[np.arange(count), labels] += sharpness
    return softmax(logits, axis=1), labels


@pytest.mark.parametrize("count", [1, 8, 9, 10, 18, 19, 99, 100, 250])
def test_the_sets_are_those_of_split_conformal_prediction(count: int):
    """As the definition has it: scores no larger than the ceil((N + 1) * 0.9)-th smallest of the held-out ones."""
    rows, labels = held_out(count)
    scores = np.sort(1 - rows[np.arange(count), labels])
    rank = math.ceil(Fraction(9, 10) * (count + 1))
    limit = scores[rank - 1] if rank <= count else math.inf
    threshold = calibrate.fit_plausible_threshold([(rows, labels)])
    for sets in (rows, held_out(300, seed=1)[0]):
        np.testing.assert_array_equal(sets >= threshold, 1 - sets <= limit)


def test_the_threshold_covers_every_part():
    easy, hard = held_out(500, 1, 4.0), held_out(300, 2, 1.0)
    alone = [calibrate.fit_plausible_threshold([part]) for part in (easy, hard)]
    assert alone[1] < alone[0]
    for parts in ([easy, hard], [hard, easy]):
        assert calibrate.fit_plausible_threshold(parts) == alone[1]


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


# All of them


def test_everything_is_fitted_to_all_parts(network):
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8) for count in (14, 21))
    parts = [(first, np.arange(14) ** 2 % 7), (second // 2, np.arange(21) % 7)]
    checkpoint = Checkpoint(network.state_dict())
    answers = calibrate.fit_all(checkpoint, first, parts, CPU)
    same = checkpoint.network().to(memory_format=torch.channels_last)
    features, logits = zip(*(calibrate.predict(same, squares, CPU) for squares, _ in parts), strict=True)
    answered = [(part, labels) for part, (_, labels) in zip(logits, parts, strict=True)]
    assert checkpoint.bias == pytest.approx(calibrate.fit_bias(answered))
    biased = [(part + checkpoint.bias, labels) for part, labels in answered]
    assert checkpoint.temperature == pytest.approx(calibrate.fit_temperature(biased)) != 1
    assert checkpoint.malignant_threshold == calibrate.fit_malignant_threshold(answers)
    assert checkpoint.plausible_threshold == calibrate.fit_plausible_threshold(answers)
    assert checkpoint.novelty.limit == pytest.approx(calibrate.fit_novelty(features[0], features).limit)
    assert checkpoint.ranges and checkpoint.rounding_errors.keys() == checkpoint.ranges.keys()
    for (rows, labels), (part, truth) in zip(answers, biased, strict=True):
        np.testing.assert_allclose(rows, softmax(part / checkpoint.temperature, axis=1), rtol=1e-5)
        assert labels is truth
