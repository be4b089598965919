"""The score card: its figures beside scikit-learn's and those by hand, its intervals and files, and what is refused."""

from __future__ import annotations

import csv
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from handler.classifier import Checkpoint, Classifier
from handler.contract import CLASSES
from handler.images import network_square, open_photograph
from tests.conftest import ROOT
from train import bootstrap, data, evaluate, metrics, report
from train.data import Example, find_examples, find_labelled
from train.predictions import Predictions
from train.roc import area, at_sensitivity, at_specificity, roc
from train.score_card import METRICS, as_json, groups_of, malignant_scores, score_card

AKIEC, BCC, BKL, DF, MEL, NV, VASC = range(7)


def sure(answers: list[int], confidence: float = 0.7) -> np.ndarray:
    """Probabilities (N, 7) that give ``confidence`` to each answer and share the rest equally."""
    probabilities = np.full((len(answers), 7), (1 - confidence) / 6, np.float32)
    probabilities[np.arange(len(answers)), answers] = confidence
    return probabilities


def asked(labels: list[int], lesions: list[str] | None = None) -> list[Example]:
    lesions = [f"L{i}" for i in range(len(labels))] if lesions is None else lesions
    return [
        Example(Path(f"{i}.jpg"), label, lesion) for i, (label, lesion) in enumerate(zip(labels, lesions, strict=True))
    ]


def invented(count: int, seed: int = 0, **optional) -> Predictions:
    """A set like HAM10000 in its classes, lesions and people, and a model that is often right."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(7, count, p=np.array([66, 103, 221, 23, 224, 1341, 29]) / 2007)
    logits = rng.normal(0, 1, (count, 7))
    logits[np.arange(count), labels] += 2
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    examples = [
        Example(
            Path(f"part/ISIC_{i}.jpg"),
            int(label),
            f"HAM_{rng.integers(count * 3 // 4)}",
            [None, 5.0, 32.5, 50.0, 80.0][rng.integers(5)],
            ["", "female", "male"][rng.integers(3)],
            ["", "back", "face", "trunk"][rng.integers(4)],
        )
        for i, label in enumerate(labels)
    ]
    return Predictions(examples, probabilities.astype(np.float32), model=("model.pth", "0123456789ab"), **optional)


# Figures that rank nothing


@pytest.fixture(params=[range(7), [0, 2, 5]], ids=["all classes", "some classes"])
def predictions(request):
    rng = np.random.default_rng(0)
    labels = rng.choice(list(request.param), 400)
    probabilities = rng.dirichlet(np.ones(7), 400)
    probabilities[np.arange(400), labels] += 0.3
    return probabilities / probabilities.sum(1, keepdims=True), labels


def test_figures_agree_with_scikit_learn(predictions):
    probabilities, labels = predictions
    predicted, present = probabilities.argmax(1), sorted(set(labels))
    expected = recall_score(labels, predicted, labels=present, average=None)
    ours = metrics.recalls(probabilities, labels)
    np.testing.assert_allclose(ours[present], expected)
    assert np.isnan(np.delete(ours, present)).all()
    assert metrics.balanced_accuracy(probabilities, labels) == pytest.approx(expected.mean())
    if len(present) == 7:
        assert metrics.balanced_accuracy(probabilities, labels) == pytest.approx(
            balanced_accuracy_score(labels, predicted)
        )
    assert metrics.accuracy(probabilities, labels) == pytest.approx((predicted == labels).mean())
    assert (metrics.confusion(probabilities, labels) == confusion_matrix(labels, predicted, labels=range(7))).all()


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    confident = np.tile([0.9, 0.1], (10, 1))
    assert metrics.expected_calibration_error(confident, np.array([0] * 6 + [1] * 4)) == pytest.approx(0.3)
    assert metrics.expected_calibration_error(confident, np.array([0] * 9 + [1])) == pytest.approx(0, abs=1e-9)
    certain = np.tile([1.0, 0.0], (10, 1))  # a confidence of 1 has a bin too
    assert metrics.expected_calibration_error(certain, np.array([0] * 5 + [1] * 5)) == pytest.approx(0.5)


def test_gaps_of_different_confidences_do_not_cancel():
    both = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    labels = np.array([0] * 8 + [1] * 2 + [0] * 7 + [1] * 3)
    assert metrics.expected_calibration_error(both, labels) == pytest.approx(0.1)


def test_precision_and_f1_agree_with_scikit_learn(predictions):
    probabilities, labels = predictions
    predicted, present = probabilities.argmax(1), sorted(set(labels))
    expected = precision_score(labels, predicted, labels=range(7), average=None, zero_division=np.nan)
    np.testing.assert_allclose(metrics.precisions(probabilities, labels), expected)
    expected = f1_score(labels, predicted, labels=present, average="macro")
    assert metrics.macro_f1(probabilities, labels) == pytest.approx(expected)


def test_log_loss_agrees_with_scikit_learn(predictions):
    probabilities, labels = predictions
    assert metrics.log_loss(probabilities, labels) == pytest.approx(log_loss(labels, probabilities, labels=range(7)))
    assert metrics.log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(12 * np.log(10))


def test_brier_score_by_hand():
    probabilities = np.array([[1.0, 0.0], [0.7, 0.3], [0.0, 1.0]])
    assert metrics.brier_score(probabilities, np.array([0, 1, 0])) == pytest.approx((0 + 2 * 0.49 + 2) / 3)


def test_bins_of_the_reliability_diagram():
    probabilities = np.array([[0.55, 0.45], [0.95, 0.05], [0.97, 0.03], [0.96, 0.04]])
    images, confidence, accuracy = metrics.reliability(probabilities, np.array([1, 0, 0, 1]), bins=10)
    assert images.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    np.testing.assert_allclose([confidence[5], confidence[9]], [0.55, 0.96])
    np.testing.assert_allclose([accuracy[5], accuracy[9]], [0, 2 / 3])
    assert np.isnan(confidence[:5]).all() and np.isnan(accuracy[6:9]).all()


def test_figures_without_weights_are_plain_numbers(predictions):
    for name in set(METRICS) - {"macro_auroc"}:
        assert type(METRICS[name](*predictions)) is float, name  # a checkpoint that holds numpy's cannot be loaded


def test_a_class_that_is_never_answered_has_no_precision_and_one_without_images_no_sensitivity():
    probabilities, labels = sure([MEL, NV]), np.array([MEL, BCC])
    precisions, recalls = metrics.precisions(probabilities, labels), metrics.recalls(probabilities, labels)
    assert precisions[MEL] == 1 and precisions[NV] == 0 and np.isnan(precisions[BCC])
    assert recalls[MEL] == 1 and recalls[BCC] == 0 and np.isnan(recalls[NV])
    assert metrics.macro_f1(probabilities, labels) == 0.5  # melanoma 1, bcc 0; nv has no image


def test_weights_count_images_as_often_as_copies_would(predictions):
    """The whole bootstrap rests on this."""
    probabilities, labels = predictions
    weights = np.random.default_rng(1).integers(0, 4, (3, len(labels)))
    for figure in [*METRICS.values(), metrics.recalls, metrics.precisions, metrics.confusion]:
        together = figure(probabilities, labels, weights.astype(float))
        for row, w in zip(together, weights, strict=True):
            np.testing.assert_allclose(row, figure(np.repeat(probabilities, w, 0), np.repeat(labels, w)))


# Ranking


def test_auroc_by_hand():
    scores, positive = np.array([0.9, 0.8, 0.8, 0.3, 0.1]), np.array([1, 0, 1, 1, 0], bool)
    # Of six pairs, 0.9 wins both, 0.8 wins one and ties one, 0.3 wins one and loses one.
    assert area(roc(scores, positive)) == pytest.approx((2 + 1.5 + 1) / 6)


@pytest.mark.parametrize("levels", [3, 20, 10**6])
def test_auroc_agrees_with_scikit_learn(levels):
    rng = np.random.default_rng(levels)
    positive = rng.random(300) < 0.2
    scores = np.round(rng.random(300) * levels) / levels + 0.2 * positive
    assert area(roc(scores, positive)) == pytest.approx(roc_auc_score(positive, scores))
    weights = rng.integers(0, 3, (4, 300)).astype(float)
    expected = [roc_auc_score(positive, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(area(roc(scores, positive, weights)), expected)


def test_the_curve_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    positive, scores = rng.random(200) < 0.3, np.round(rng.random(200), 2)
    curve = roc(scores, positive)
    false_alarms, sensitivity, thresholds = roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.sensitivity, sensitivity)
    np.testing.assert_allclose(1 - curve.specificity, false_alarms, atol=1e-12)
    np.testing.assert_allclose(curve.thresholds, thresholds)


def test_operating_points_by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.05, 0.06, 0.07, 0.08])
    positive = np.array([1, 0, 1, 1, 0] + [0] * 8 + [1], bool)  # 4 positive, 10 others
    curve = roc(scores, positive)
    # One false alarm of ten is allowed: 0.8. Then 0.7 and 0.6 are found too, and 0.5 would be a second one.
    assert at_specificity(curve, 0.9) == (0.6, 0.75, 0.9)
    assert at_specificity(curve, 0.95) == (0.9, 0.25, 1.0)
    assert at_sensitivity(curve, 0.7) == (0.6, 0.75, 0.9)
    threshold, sensitivity, specificity = at_sensitivity(curve, 0.8)
    assert (threshold, sensitivity) == (0.08, 1) and specificity == pytest.approx(0.4)


def test_no_threshold_that_calls_anything_positive_is_specific_enough():
    assert at_specificity(roc(np.array([0.5, 0.9]), np.array([True, False])), 0.9) == (np.inf, 0, 1)


@pytest.mark.parametrize("positive", [True, False])
def test_a_curve_of_one_kind_of_image_is_not_defined(positive):
    curve = roc(np.array([0.2, 0.4]), np.array([positive] * 2))
    assert np.isnan(area(curve))
    assert np.isnan([*at_specificity(curve, 0.9)[1:], *at_sensitivity(curve, 0.9)[1:]]).all()


# Intervals


def accuracy_of(right: np.ndarray):
    return lambda weights: {"accuracy": metrics.ratio(weights @ right.astype(float), weights.sum(-1))}


def width(right: np.ndarray, clusters: np.ndarray, **options) -> float:
    settings = {"resamples": 2000, "seed": 0} | options
    estimate = bootstrap.estimates(accuracy_of(right), clusters, **settings)["accuracy"]
    return float(estimate.high - estimate.low)


def test_images_of_a_lesion_are_one_cluster_and_those_without_stand_alone():
    assert bootstrap.clusters_of(["b", "a", "b", "", "", "a"]).tolist() == [0, 1, 0, 2, 3, 1]


def test_a_resample_takes_whole_lesions_and_as_many_as_there_are():
    clusters, rng = np.array([0, 0, 0, 1, 2, 2]), np.random.default_rng(0)
    drawn = np.stack([bootstrap.draw_weights(clusters, rng) for _ in range(300)])
    assert (
        (drawn[:, 0] == drawn[:, 1]).all() and (drawn[:, 0] == drawn[:, 2]).all() and (drawn[:, 4] == drawn[:, 5]).all()
    )
    assert (drawn[:, [0, 3, 4]].sum(1) == 3).all()
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.15)


def test_two_lesions_have_three_resamples():
    """Three right images of one lesion, a wrong one of another: all right, all wrong or as they are."""
    right, clusters = np.array([1, 1, 1, 0]), np.array([0, 0, 0, 1])
    seen = []

    def figures(weights):
        seen.append(accuracy_of(right)(weights)["accuracy"])
        return {"accuracy": seen[-1]}

    estimate = bootstrap.estimates(figures, clusters, 1000, 0)["accuracy"]
    assert tuple(map(float, estimate)) == (0.75, 0, 1)
    values, counts = np.unique(np.concatenate(seen[1:]), return_counts=True)
    assert values.tolist() == [0, 0.75, 1] and counts.sum() == 1000
    np.testing.assert_allclose(counts / 1000, [0.25, 0.5, 0.25], atol=0.05)


def test_one_lesion_tells_nothing_of_its_spread():
    assert width(np.array([1, 0, 1]), np.zeros(3, int)) == 0


def test_images_on_their_own_have_the_width_of_the_normal_approximation():
    right = np.arange(400) % 5 > 0
    assert width(right, np.arange(400)) == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 400), rel=0.1)


def test_copies_of_an_image_add_no_knowledge():
    right = np.arange(100) % 5 > 0
    alone = width(right, np.arange(100))
    copies, lesions = np.repeat(right, 4), np.repeat(np.arange(100), 4)
    assert width(copies, lesions) == pytest.approx(alone)  # the same draws
    assert width(copies, np.arange(400)) == pytest.approx(alone / 2, rel=0.15)


def test_intervals_depend_on_the_seed_alone_and_not_on_how_many_are_computed_at_once(monkeypatch):
    right, clusters = np.arange(100) % 3 > 0, np.arange(100) // 2
    first = width(right, clusters, seed=1)
    monkeypatch.setattr(bootstrap, "CELLS", 700)
    assert width(right, clusters, seed=1) == first
    assert width(right, clusters, seed=2) != first


def test_resamples_that_do_not_define_a_figure_are_left_out():
    def figures(weights):
        return {"first": metrics.ratio(weights[:, :1] @ np.array([0.5]), weights[:, 0]), "none": weights[:, 0] * np.nan}

    found = bootstrap.estimates(figures, np.arange(3), 50, 0)
    assert tuple(map(float, found["first"])) == (0.5, 0.5, 0.5)
    assert np.isnan(found["none"]).all()


# The card


@pytest.fixture(scope="module")
def small() -> Predictions:
    """Eight images of six lesions: four melanomas of which two are found, three nevi of which one is a false alarm."""
    labels, answers = [MEL, MEL, MEL, MEL, NV, NV, NV, BCC], [MEL, MEL, NV, BCC, NV, NV, MEL, MEL]
    examples = asked(labels, ["a", "a", "b", "c", "d", "d", "e", "f"])
    ages, sexes, sites = [29.9, 30, 44, 45, 75, None, 90, 0], ["male"] * 5 + ["female"] * 3, ["back"] * 7 + [""]
    examples = [replace(e, age=a, sex=s, site=t) for e, a, s, t in zip(examples, ages, sexes, sites, strict=True)]
    novelty = np.array([0.5, 1.0, 1.01, 2.0, 0, 0, 0, 0.9])
    return Predictions(examples, sure(answers), novelty, ("m.pth", "0123456789ab"), malignant_threshold=0.75)


@pytest.fixture(scope="module")
def card(small) -> dict:
    return score_card(small, resamples=200)


def values(part: dict) -> dict:
    return {name: figure["value"] for name, figure in part.items() if isinstance(figure, dict)}


def test_whole_set_by_hand(card):
    assert (card["images"], card["lesions"], card["images_without_lesion"]) == (8, 6, 0)
    assert card["model"] == {"file": "m.pth", "sha256": "0123456789ab"}
    assert card["intervals"] == {
        "level": 0.95, "method": "percentile bootstrap", "resampled": "lesions", "resamples": 200, "seed": 0,
    }  # fmt: skip
    assert card["reference"] == {"class": "mel", "accuracy": 0.5, "balanced_accuracy": 0.333333}
    figures = values(card["metrics"])
    assert figures["accuracy"] == 0.5  # a, a, d, d
    assert figures["balanced_accuracy"] == pytest.approx((2 / 4 + 2 / 3 + 0) / 3, abs=1e-6)
    assert figures["expected_calibration_error"] == pytest.approx(0.2)  # 0.7 sure, half right
    wrong = (0.95**2) + 0.7**2 + 5 * 0.05**2
    assert figures["brier_score"] == pytest.approx((0.3**2 + 6 * 0.05**2 + wrong) / 2, abs=1e-6)
    assert figures["log_loss"] == pytest.approx(-(np.log(0.7) + np.log(0.05)) / 2, abs=1e-6)
    assert figures["macro_f1"] == pytest.approx((2 * 2 / (4 + 4) + 2 * 2 / (3 + 3) + 0) / 3, abs=1e-6)
    for figure in card["metrics"].values():
        assert figure["low"] <= figure["value"] <= figure["high"]


def test_classes_by_hand(card):
    melanoma = card["classes"]["mel"]
    assert list(card["classes"]) == list(CLASSES)
    assert melanoma["images"] == 4
    # 16 pairs: two found win over the two nevi that are no alarm (4) and tie with the two alarms (2 of 4);
    # two missed tie with the same two (2 of 4) and lose to the alarms.
    assert values(melanoma) == {"sensitivity": 0.5, "precision": 0.5, "auroc": 0.5}
    assert values(card["classes"]["bcc"]) == {"sensitivity": 0, "precision": 0, "auroc": pytest.approx(3 / 7, abs=1e-6)}
    assert values(card["classes"]["vasc"]) == {"sensitivity": None, "precision": None, "auroc": None}
    assert card["confusion"][MEL] == [0, 1, 0, 0, 2, 1, 0]
    assert np.sum(card["confusion"]) == 8
    (bin_,) = [b for b in card["reliability"] if b["images"]]
    assert bin_ == {"from": 0.666667, "to": 0.733333, "images": 8, "confidence": 0.7, "accuracy": 0.5}
    assert len(card["reliability"]) == 15 and card["reliability"][0]["accuracy"] is None


def test_operating_points_of_melanoma(card):
    points = {p["rule"]: p for p in card["melanoma"]["operating_points"]}
    assert list(points) == [
        "most probable class", "specificity 0.80", "specificity 0.90", "specificity 0.95",
        "sensitivity 0.90", "sensitivity 0.95",
    ]  # fmt: skip
    assert values(points["most probable class"]) == {"sensitivity": 0.5, "specificity": 0.5}
    assert points["most probable class"]["threshold"] is None
    assert values(points["specificity 0.90"]) == {"sensitivity": 0, "specificity": 1}
    assert points["specificity 0.90"]["threshold"] is None  # nothing may be called a melanoma
    assert values(points["sensitivity 0.90"]) == {"sensitivity": 1, "specificity": 0}
    assert points["sensitivity 0.90"]["threshold"] == pytest.approx(0.05)


def test_malignant_classes_are_taken_together(card, small):
    np.testing.assert_allclose(malignant_scores(small.probabilities), [0.8, 0.8, 0.15, 0.8, 0.15, 0.15, 0.8, 0.8], 1e-6)
    part = card["malignant"]
    assert part["classes"] == ["akiec", "bcc", "mel"] and part["images"] == 5
    most_probable, threshold = part["operating_points"]
    # A melanoma called bcc is found, as is a bcc called melanoma.
    assert values(most_probable) == {"sensitivity": 0.8, "specificity": pytest.approx(2 / 3, abs=1e-6)}
    assert values(threshold) == values(most_probable)
    assert (threshold["rule"], threshold["threshold"]) == ("malignant threshold", 0.75)
    (alone,) = score_card(replace(small, malignant_threshold=None), 2)["malignant"]["operating_points"]
    assert alone["rule"] == "most probable class"


def test_an_image_at_the_threshold_is_malignant(small):
    at = float(malignant_scores(small.probabilities)[0])
    for threshold, found in ((at, 0.8), (np.nextafter(at, 1), 0)):
        card = score_card(replace(small, malignant_threshold=threshold), 2)
        assert card["malignant"]["operating_points"][1]["sensitivity"]["value"] == found


def test_novelty_above_1_is_flagged(card, small):
    assert card["novelty"]["limit"] == 1
    assert card["novelty"]["flagged"]["value"] == 0.25
    assert score_card(replace(small, novelty=None), 2)["novelty"] is None


def test_groups_by_hand(card, small):
    members = {
        kind: {n: m.nonzero()[0].tolist() for n, m in g.items()} for kind, g in groups_of(small.examples).items()
    }
    assert members == {
        "age": {"<30": [0, 7], "30–44": [1, 2], "45–59": [3], "≥75": [4, 6], "unknown": [5]},
        "sex": {"female": [5, 6, 7], "male": [0, 1, 2, 3, 4]},
        "site": {"back": list(range(7)), "unknown": [7]},
    }
    assert list(members["age"]) == ["<30", "30–44", "45–59", "≥75", "unknown"]
    male = card["groups"]["sex"]["male"]
    assert (male["images"], male["classes"], male["few"]) == (5, 2, True)
    assert values(male) == {"accuracy": 0.6, "balanced_accuracy": 0.75}


def test_a_group_of_thirty_is_not_few():
    examples = [replace(e, sex="male" if i < 30 else "female") for i, e in enumerate(asked([NV] * 59))]
    groups = score_card(Predictions(examples, sure([NV] * 59)), 2)["groups"]["sex"]
    assert {name: g["few"] for name, g in groups.items()} == {"female": True, "male": False}


def test_lesions_with_many_images_widen_the_card_s_intervals():
    rng = np.random.default_rng(0)
    labels = rng.choice([MEL, NV], 60)
    answers = np.where(rng.random(60) < 0.7, labels, BKL)
    labels, answers = np.repeat(labels, 4).tolist(), np.repeat(answers, 4).tolist()
    by_lesion = Predictions(asked(labels, [f"L{i // 4}" for i in range(240)]), sure(answers))
    by_image = Predictions(asked(labels, [""] * 240), sure(answers))
    cards = [score_card(p, 500) for p in (by_lesion, by_image)]
    assert [c["intervals"]["resampled"] for c in cards] == ["lesions", "images"]
    assert [c["lesions"] for c in cards] == [60, 0]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss"):
        wide, narrow = (c["metrics"][name]["high"] - c["metrics"][name]["low"] for c in cards)
        assert wide > 1.6 * narrow, name


def test_the_card_depends_on_the_seed_and_resamples_only():
    predictions = invented(150)
    first = as_json(score_card(predictions, 50, 3))
    assert as_json(score_card(predictions, 50, 3)) == first
    other = json.loads(as_json(score_card(predictions, 50, 4)))
    assert other["metrics"]["accuracy"]["value"] == json.loads(first)["metrics"]["accuracy"]["value"]
    assert other["metrics"] != json.loads(first)["metrics"]


def test_a_thousand_resamples_of_two_thousand_images_take_seconds():
    started = time.process_time()
    score_card(invented(2007), resamples=1000)
    assert time.process_time() - started < 20


# Markdown and pictures


def test_markdown_tells_what_the_card_does(card):
    text = report.markdown(card)
    assert text.startswith("8 images of 6 lesions, one forward pass each by m.pth (SHA-256 0123456789ab…)")
    assert (
        "Intervals are 95 %, by a percentile bootstrap (200 resamples) over lesions, each with all its images." in text
    )
    low, high = (card["metrics"]["accuracy"][end] for end in ("low", "high"))
    assert f"| accuracy | 0.500 | {low:.3f}–{high:.3f} | 0.500 |" in text
    assert (
        "| | model | interval | commonest class |" in text and f"–{card['metrics']['macro_f1']['high']:.3f} | |" in text
    )
    assert "| vasc | 0 | – | – | – |" in text
    assert "| true mel | 0 | 1 | 0 | 0 | 2 | 1 | 0 |" in text
    assert "| malignant threshold | 0.7500 | 0.800" in text
    assert "Flagged as unlike the training images: 0.250" in text
    assert "| male | 5 (few) | 2 | 0.600" in text
    assert "| nan" not in text and "(nan" not in text and "None" not in text
    assert set(re.findall(r"!\[.+\]\((.+)\)", text)) == set(report.PICTURES)


def test_markdown_says_when_lesions_are_not_known(small):
    def summary(lesions):
        examples = [replace(e, lesion=lesion) for e, lesion in zip(small.examples, lesions, strict=True)]
        return report.markdown(score_card(replace(small, examples=examples, model=("", "")), 2)).splitlines()[0]

    assert summary([""] * 8).startswith("8 images, one forward pass each, against")
    assert "over images, as their lesions are not known" in summary([""] * 8)
    assert "(3 images without a known lesion count as one each)" in summary(["a", "b", "b", "c", "c", "", "", ""])


def test_people_that_are_not_known_have_no_table(small):
    examples = asked(small.labels.tolist())
    assert "By age" not in report.markdown(score_card(replace(small, examples=examples), 2))
    site = [replace(e, site="head | neck\n") for e in examples]
    assert "| head \\| neck | 8 (few) |" in report.markdown(score_card(replace(small, examples=site), 2))


def test_pictures_are_small_and_the_same_each_time(tmp_path):
    predictions = invented(400)
    card = score_card(predictions, 20)
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        report.draw(predictions, card, tmp_path / folder)
    for name in report.PICTURES:
        picture = (tmp_path / "first" / name).read_bytes()
        assert len(picture) < 60_000
        assert picture == (tmp_path / "second" / name).read_bytes()
        assert b"atplotlib" not in picture
        with Image.open(tmp_path / "first" / name) as image:
            assert min(image.size) >= 400
            assert image.convert("RGB").getpixel((2, 2)) == (255, 255, 255)


@pytest.mark.parametrize("labels", [[NV], [MEL, MEL], [NV, BCC, NV]])
def test_sets_that_lack_classes_have_a_card_too(tmp_path, labels):
    predictions = Predictions(asked(labels), sure([NV] * len(labels)))
    card = score_card(predictions, 20)
    assert "NaN" not in as_json(card)
    assert "| nan" not in report.markdown(card) and "(nan" not in report.markdown(card)
    report.draw(predictions, card, tmp_path)


# Answers that are kept


@pytest.mark.parametrize("more", [{}, {"novelty": np.arange(80) / 39.7}, {"malignant_threshold": 1 / 3}])
def test_kept_answers_give_the_same_card(tmp_path, more):
    predictions = invented(80, **more)
    predictions.write(tmp_path / "p.csv")
    again = Predictions.read(tmp_path / "p.csv")
    assert again.examples == predictions.examples and again.model == predictions.model
    np.testing.assert_array_equal(again.probabilities, predictions.probabilities)
    assert again.probabilities.dtype == np.float32
    assert as_json(score_card(again, 30)) == as_json(score_card(predictions, 30))
    again.write(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "p.csv").read_bytes()


def test_any_float32_is_kept_exactly(tmp_path):
    rng = np.random.default_rng(0)
    first = (rng.random(3000) ** 8).astype(np.float32)
    probabilities = np.zeros((3000, 7), np.float32)
    probabilities[:, 0], probabilities[:, 6] = first, 1 - first
    Predictions(asked([NV] * 3000), probabilities).write(tmp_path / "p.csv")
    np.testing.assert_array_equal(Predictions.read(tmp_path / "p.csv").probabilities, probabilities)


def test_columns_of_kept_answers(tmp_path, small):
    small.write(tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as file:
        first = next(iter(csv.DictReader(file)))
    assert list(first) == [
        "file", "lesion_id", "dx", "age", "sex", "localization", "model", "sha256", "novelty", "malignant_threshold",
        *CLASSES,
    ]  # fmt: skip
    assert list(first.values())[:10] == [
        "0.jpg", "a", "mel", "29.9", "male", "back", "m.pth", "0123456789ab", "0.5", "0.75",
    ]  # fmt: skip


def test_answers_of_others_need_only_files_diagnoses_and_probabilities(tmp_path):
    (tmp_path / "p.csv").write_text("dx,file,nv,mel,bcc,bkl,df,akiec,vasc\nmel,a.jpg,.25,.75,0,0,0,0,0\n")
    (example,) = Predictions.read(tmp_path / "p.csv").examples
    assert example == Example(Path("a.jpg"), MEL, "")
    card = score_card(Predictions.read(tmp_path / "p.csv"), 2)
    assert card["model"] is None and card["metrics"]["accuracy"]["value"] == 1


HEAD = "file,dx,akiec,bcc,bkl,df,mel,nv,vasc"
UNREADABLE = {
    "no row": (HEAD, "has no row"),
    "no column": ("file,dx,akiec,bcc,bkl,df,mel,nv\na,nv,0,0,0,0,0,1", "has no column 'vasc'; it has file, dx"),
    "unknown class": (f"{HEAD}\na,scc,0,0,0,0,0,1,0", "a has dx 'scc'; known are akiec, bcc"),
    "text": (f"{HEAD}\na,nv,0,0,0,0,0,one,0", "a has nv 'one', which is no number"),
    "not finite": (f"{HEAD}\na,nv,0,0,0,0,0,nan,0", "a has nv 'nan', which is no number"),
    "short row": (f"{HEAD}\na,nv,0,0,0,0,0,1", "a has vasc None, which is no number"),
    "sum": (f"{HEAD}\na,nv,0,0,0,0,0,0.9,0", "the probabilities of a are negative or do not add up to 1"),
    "negative": (f"{HEAD}\na,nv,0,0,0,0,-1,2,0", "the probabilities of a are negative"),
    "novelty": (f"{HEAD},novelty\na,nv,0,0,0,0,0,1,0,far", "a has novelty 'far', which is no number"),
    "two models": (f"{HEAD},model\na,nv,0,0,0,0,0,1,0,x\nb,nv,0,0,0,0,0,1,0,y", "more than one model: keep the rows"),
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_answers_that_cannot_be_read_are_refused(capsys, tmp_path, fault):
    text, expected = UNREADABLE[fault]
    (tmp_path / "p.csv").write_text(text + "\n")
    assert expected in refusal(capsys, "--probabilities", tmp_path / "p.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]


# Any other set


@pytest.fixture
def photographs(tmp_path) -> Path:
    """Nine photographs, two of them deeper, and their diagnoses."""
    folder, rng = tmp_path / "photographs", np.random.default_rng(0)
    (folder / "deep").mkdir(parents=True)
    rows = ["file,dx,lesion_id,age,sex,localization"]
    for i in range(9):
        name = f"{'deep/' * (i > 6)}{i}.png"
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(folder / name)
        rows.append(f"{name},{list(CLASSES)[i % 7]},L{i // 2},{30 + i},Male,{['back', 'unknown'][i % 2]}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def relabel(photographs: Path, change) -> None:
    path = photographs / "labels.csv"
    path.write_text(change(path.read_text()))


def test_a_set_is_what_its_labels_name(photographs):
    examples = find_labelled(photographs, photographs / "labels.csv")
    assert [e.path.name for e in examples] == [f"{i}.png" for i in range(9)]
    assert examples[8] == Example(photographs / "deep/8.png", BCC, "L4", 38.0, "male", "back")
    assert examples[1].site == ""


def test_two_columns_are_enough(photographs):
    (photographs / "few.csv").write_text("\ufefffile,dx\n 3.png , nv \n")
    assert find_labelled(photographs, photographs / "few.csv") == [Example(photographs / "3.png", NV, "")]


@pytest.mark.parametrize(
    ("text", "age"),
    [("50.0", 50), ("0", 0), ("", None), ("unknown", None), ("-1", None), ("nan", None), ("inf", None), ("85+", None)],
)
def test_what_is_no_age_is_not_known(photographs, text, age):
    relabel(photographs, lambda labels: labels.replace("L0,30,", f"L0,{text},"))
    assert find_labelled(photographs, photographs / "labels.csv")[0].age == age


def test_ham10000_tells_age_sex_and_site(tmp_path):
    folder = tmp_path / data.FOLDERS["test"]
    folder.mkdir()
    for name in "abc":
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    rows = ["L1,a,nv,histo,45.0,female,lower extremity", "L1,b,mel,histo,,unknown,unknown", "L2,c,df", "L2,c,df,,3,,"]
    (tmp_path / data.METADATA).write_text("\n".join(["lesion_id,image_id,dx,dx_type,age,sex,localization", *rows]))
    assert find_examples(tmp_path, "test") == [
        Example(folder / "a.png", NV, "L1", 45.0, "female", "lower extremity"),
        Example(folder / "b.png", MEL, "L1"),
        Example(folder / "c.png", DF, "L2"),
    ]
    (tmp_path / data.METADATA).write_text("lesion_id,image_id,dx\nL1,a,nv\nL1,b,mel\nL2,c,df\n")
    assert [e.age for e in find_examples(tmp_path, "test")] == [None] * 3


def test_the_test_images_and_who_they_are_of(shared):
    examples = find_examples(shared / "ham10000", "test")
    groups = {kind: {n: int(m.sum()) for n, m in g.items()} for kind, g in groups_of(examples).items()}
    assert all(sum(g.values()) == len(examples) == 2007 for g in groups.values())
    assert list(groups["age"]) == ["<30", "30–44", "45–59", "60–74", "≥75", "unknown"]
    assert list(groups["sex"]) == ["female", "male", "unknown"]
    assert len(groups["site"]) >= 14 and groups["site"]["unknown"] < 100


# The command line


class Drawn:
    """A classifier that knows its classes in another order and answers by the first pixel."""

    classes = list(reversed(CLASSES))
    batches: list[int] = []
    tells_novelty = False

    def __init__(self, checkpoint) -> None:
        self.batches.clear()

    def assess(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == (224, 224, 3)
        self.batches.append(len(pixels))
        first = pixels[:, 0, 0, 0]
        return sure((first % 7).tolist(), 0.61), np.where(self.tells_novelty, first / np.float32(60), np.nan)


@pytest.fixture
def drawn(monkeypatch) -> type[Drawn]:
    monkeypatch.setattr(evaluate, "Classifier", Drawn)
    return Drawn


def run(capsys, *arguments: object) -> str:
    assert evaluate.main([str(a) for a in arguments]) == 0
    captured = capsys.readouterr()
    assert "error" not in captured.err
    return captured.out


def refusal(capsys, *arguments: object) -> str:
    code = evaluate.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert code == 2 and captured.out == ""
    assert captured.err.startswith("evaluate.py: error: ") and captured.err.count("\n") == 1
    return captured.err


FILES = {"score_card.json", "score_card.md", "probabilities.csv", *report.PICTURES}


def test_a_run_writes_the_card_and_kept_answers_write_the_same(capsys, photographs, tmp_path, drawn):
    monkey, first, again = ("--resamples", 40, "--seed", 7), tmp_path / "new/first", tmp_path / "again"
    printed = run(
        capsys, "--images", photographs, "--labels", photographs / "labels.csv", "--output", first, *monkey
    )  # fmt: skip
    assert {p.name for p in first.iterdir()} == FILES
    assert (first / "score_card.md").read_text() == printed
    assert printed.startswith("9 images of 5 lesions, one forward pass each by model_mlbio.pth (SHA-256 ")
    kept = Predictions.read(first / "probabilities.csv")
    squares = [network_square(open_photograph((photographs / e.path).read_bytes())) for e in kept.examples]
    expected = [6 - int(s[0, 0, 0]) % 7 for s in squares]  # back from the classifier's order
    assert kept.probabilities.argmax(1).tolist() == expected
    assert kept.examples[8] == Example(Path("deep/8.png"), BCC, "L4", 38.0, "male", "back")
    assert str(tmp_path) not in "".join(p.read_text() for p in first.iterdir() if p.suffix != ".png")
    assert run(capsys, "--probabilities", first / "probabilities.csv", "--output", again, *monkey) == printed
    for name in FILES:
        assert (again / name).read_bytes() == (first / name).read_bytes(), name


def test_the_test_images_are_asked_in_batches(capsys, tmp_path, drawn):
    folder = tmp_path / data.FOLDERS["test"]
    folder.mkdir()
    for i in range(70):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i:02d}.png")
    rows = [f"L{i},{i:02d},nv" for i in range(70)]
    (tmp_path / data.METADATA).write_text("\n".join(["lesion_id,image_id,dx", *rows]))
    assert "70 images of 70 lesions" in run(capsys, tmp_path, "--output", tmp_path / "card", "--resamples", 5)
    assert drawn.batches == [32, 32, 6]
    answers = Predictions.read(tmp_path / "card/probabilities.csv")
    assert answers.examples[69] == Example(Path("69.png"), NV, "L69")
    assert answers.probabilities.argmax(1).tolist() == [6 - i % 7 for i in range(70)]
    assert answers.novelty is None


def test_what_the_checkpoint_knows_more_is_in_the_card(capsys, tmp_path, photographs, drawn, monkeypatch):
    checkpoint = Checkpoint.load(ROOT / "model_store/model_mlbio.pth")
    checkpoint.malignant_threshold = 0.31
    monkeypatch.setattr(evaluate.Checkpoint, "load", lambda path: checkpoint)
    monkeypatch.setattr(drawn, "tells_novelty", True)
    arguments = "--images", photographs, "--labels", photographs / "labels.csv", "--output", tmp_path, "--resamples", 5
    printed = run(capsys, *arguments)
    assert "| malignant threshold | 0.3100 | " in printed
    flagged = (Predictions.read(tmp_path / "probabilities.csv").novelty > 1).mean()
    assert f"Flagged as unlike the training images: {flagged:.3f}" in printed


def test_the_engine_that_serves_is_asked(capsys, tmp_path, example_images):
    names = [p.name for p in example_images]
    (tmp_path / "labels.csv").write_text("\n".join(["file,dx", *(f"{name},nv" for name in names)]))
    set_ = "--images", example_images[0].parent, "--labels", tmp_path / "labels.csv"
    run(capsys, *set_, "--output", tmp_path / "card", "--resamples", 5)
    classifier = Classifier(Checkpoint.load(ROOT / "model_store/model_mlbio.pth"))
    squares = np.stack([network_square(open_photograph(p.read_bytes())) for p in example_images])
    answers = Predictions.read(tmp_path / "card/probabilities.csv").probabilities
    np.testing.assert_allclose(answers, classifier.probabilities(squares), atol=1e-5)


def test_where_a_card_goes_unless_said_otherwise():
    def default(*arguments: str) -> Path:
        return evaluate.default_output(evaluate.parser().parse_args(arguments))

    store = ROOT / "model_store"
    assert default("ROOT") == store / "score_card"
    assert default("--images", "some/clinic", "--labels", "x.csv") == store / "score_card_clinic"
    assert default("--images", ".", "--labels", "x.csv") == store / f"score_card_{Path.cwd().name}"
    assert default("--probabilities", "card/probabilities.csv") == Path("card")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "no images are given: give root, --images with --labels, or --probabilities"),
        (["ROOT", "--images", "DIR", "--labels", "CSV"], "root and --images are both given: give one of them"),
        (["ROOT", "--probabilities", "CSV"], "root and --probabilities are both given"),
        (["--images", "DIR", "--probabilities", "CSV"], "--images and --probabilities are both given"),
        (["--images", "DIR"], "--images and --labels belong together: give both"),
        (["ROOT", "--labels", "CSV"], "--images and --labels belong together"),
        (["nowhere"], "nowhere is not a folder: give the one that holds HAM10000_metadata.csv"),
        (["--images", "nowhere", "--labels", "CSV"], "nowhere is not a folder: give the one that holds the images"),
        (["--probabilities", "nowhere.csv"], "nowhere.csv is missing: it holds a row per image (columns file, dx,"),
        (["x" * 5000], "File name too long"),
    ],
)
def test_a_command_that_asks_for_no_one_set_is_refused(capsys, arguments, expected):
    assert expected in refusal(capsys, *arguments)


@pytest.mark.parametrize("option", [["--resamples", "0"], ["--resamples", "many"], ["--seed", "-1"]])
def test_numbers_that_are_none_are_refused(capsys, option):
    with pytest.raises(SystemExit) as done:
        evaluate.main(["ROOT", *option])
    assert done.value.code == 2
    assert f"{option[1]} is not a whole number of at least" in capsys.readouterr().err


FAULTS = {
    "no labels": (lambda folder: (folder / "labels.csv").unlink(), "labels.csv is missing: it holds a row per image"),
    "no column file": (
        lambda f: relabel(f, lambda t: t.replace("file,", "name,")),
        "has no column 'file'; it has name",
    ),
    "no column dx": (lambda f: relabel(f, lambda t: t.replace("dx,", "diagnosis,")), "has no column 'dx'"),
    "no row": (lambda f: relabel(f, lambda t: t.splitlines()[0] + "\n"), "labels.csv has no row"),
    "unknown class": (
        lambda f: relabel(f, lambda t: t.replace("0.png,akiec", "0.png,scc")),
        "0.png has dx 'scc'; known",
    ),
    "short row": (lambda f: relabel(f, lambda t: t + "0.png"), "0.png has dx ''; known"),
    "missing file": (lambda f: (f / "3.png").unlink(), "3.png is missing: "),
    "a folder": (lambda f: ((f / "3.png").unlink(), (f / "3.png").mkdir()), "3.png is missing: "),
    "no name": (lambda f: relabel(f, lambda t: t.replace("3.png", "")), "is no file inside"),
    "a name too long": (lambda f: relabel(f, lambda t: t.replace("3.png", "3" * 300)), "is missing: "),
    "outside": (lambda f: relabel(f, lambda t: t.replace("3.png", "../3.png")), "'../3.png' is no file inside"),
    "absolute": (lambda f: relabel(f, lambda t: t.replace("3.png", "/3.png")), "'/3.png' is no file inside"),
    "twice": (lambda f: relabel(f, lambda t: t + "./3.png,df,L1\n"), "has two rows for 3.png: keep one"),
    "unreadable": (lambda f: (f / "deep/8.png").write_text("no image"), "8.png: not an image that can be read"),
    "cut": (lambda f: (f / "3.png").write_bytes((f / "3.png").read_bytes()[:99]), "3.png: the image is damaged"),
    "not UTF-8": (lambda f: (f / "labels.csv").write_bytes(b"file,dx\n\xff\xfe,nv"), "is not a CSV file in UTF-8"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_set_is_one_line(capsys, photographs, tmp_path, drawn, fault):
    spoil, expected = FAULTS[fault]
    spoil(photographs)
    arguments = "--images", photographs, "--labels", photographs / "labels.csv", "--output", tmp_path / "card"
    assert expected in refusal(capsys, *arguments)
    assert not (tmp_path / "card/score_card.json").exists()


def test_a_model_that_is_none_is_refused(capsys, photographs, tmp_path):
    set_ = "--images", photographs, "--labels", photographs / "labels.csv", "--output", tmp_path / "card"
    assert "none.pth does not exist" in refusal(capsys, *set_, "--modelname", tmp_path / "none.pth")
    assert "is not a checkpoint" in refusal(capsys, *set_, "--modelname", photographs / "labels.csv")
    assert not (tmp_path / "card").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_asked(capsys, photographs, tmp_path, drawn):
    (tmp_path / "file").write_text("")
    set_ = "--images", photographs, "--labels", photographs / "labels.csv"
    for output in ("file", "file/card"):
        message = refusal(capsys, *set_, "--output", tmp_path / output)
        assert f"--output {tmp_path / output} cannot be written (" in message
    assert drawn.batches == []
    (tmp_path / "card/score_card.md").mkdir(parents=True)
    assert "cannot be written (Is a directory)" in refusal(capsys, *set_, "--output", tmp_path / "card")
