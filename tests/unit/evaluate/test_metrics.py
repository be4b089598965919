"""Metrics of a classifier, compared with scikit-learn and computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics

from evaluate import metrics
from evaluate.metrics import area, at_sensitivity, at_specificity, roc

METRICS = (
    metrics.accuracy,
    metrics.balanced_accuracy,
    metrics.macro_f1,
    metrics.expected_calibration_error,
    metrics.brier_score,
    metrics.log_loss,
)


@pytest.fixture(params=[range(7), [0, 2, 5]], ids=["all classes", "some classes"])
def predictions(request):
    rng = np.random.default_rng(0)
    labels = rng.choice(list(request.param), 400)
    probabilities = rng.dirichlet(np.ones(7), 400)
    probabilities[np.arange(400), labels] += 0.3
    return probabilities / probabilities.sum(1, keepdims=True), labels


def test_metrics_agree_with_scikit_learn(predictions):
    probabilities, labels = predictions
    predicted, present = probabilities.argmax(1), sorted(set(labels))
    recalls = sklearn.metrics.recall_score(labels, predicted, labels=range(7), average=None, zero_division=np.nan)
    np.testing.assert_allclose(metrics.recalls(probabilities, labels), recalls)
    ppvs = sklearn.metrics.precision_score(labels, predicted, labels=range(7), average=None, zero_division=np.nan)
    np.testing.assert_allclose(metrics.ppvs(probabilities, labels), ppvs)
    f1 = sklearn.metrics.f1_score(labels, predicted, labels=present, average="macro")
    assert metrics.macro_f1(probabilities, labels) == pytest.approx(f1)
    assert metrics.balanced_accuracy(probabilities, labels) == pytest.approx(recalls[present].mean())
    assert metrics.accuracy(probabilities, labels) == pytest.approx((predicted == labels).mean())
    log_loss = sklearn.metrics.log_loss(labels, probabilities, labels=range(7))
    assert metrics.log_loss(probabilities, labels) == pytest.approx(log_loss)
    confusion = sklearn.metrics.confusion_matrix(labels, predicted, labels=range(7))
    assert (metrics.confusion(probabilities, labels) == confusion).all()
    for metric in METRICS:
        assert type(metric(*predictions)) is float, metric  # a checkpoint that holds numpy's cannot be loaded


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    confident = np.tile([0.9, 0.1], (10, 1))
    assert metrics.expected_calibration_error(confident, np.array([0] * 6 + [1] * 4)) == pytest.approx(0.3)
    certain = np.tile([1.0, 0.0], (10, 1))  # a confidence of 1 has a bin too
    assert metrics.expected_calibration_error(certain, np.array([0] * 5 + [1] * 5)) == pytest.approx(0.5)
    two_bins = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)  # gaps of -0.1 and 0.1 do not cancel
    labels = np.array([0] * 8 + [1] * 2 + [0] * 7 + [1] * 3)
    assert metrics.expected_calibration_error(two_bins, labels) == pytest.approx(0.1)


def test_brier_score_and_the_log_loss_of_an_impossible_class_by_hand():
    probabilities = np.array([[1.0, 0.0], [0.7, 0.3], [0.0, 1.0]])
    assert metrics.brier_score(probabilities, np.array([0, 1, 0])) == pytest.approx((0 + 2 * 0.49 + 2) / 3)
    assert metrics.log_loss(probabilities[:1], np.array([1])) == pytest.approx(12 * np.log(10))


def test_bins_of_the_reliability_diagram():
    probabilities = np.array([[0.55, 0.45], [0.95, 0.05], [0.97, 0.03], [0.96, 0.04]])
    images, confidence, accuracy = metrics.reliability(probabilities, np.array([1, 0, 0, 1]), bins=10)
    assert images.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    np.testing.assert_allclose([confidence[5], confidence[9]], [0.55, 0.96])
    np.testing.assert_allclose([accuracy[5], accuracy[9]], [0, 2 / 3])
    assert np.isnan(confidence[:5]).all() and np.isnan(accuracy[6:9]).all()


def test_weights_count_images_as_often_as_copies_would(predictions):
    """The whole bootstrap rests on this."""
    probabilities, labels = predictions
    weights = np.random.default_rng(1).integers(0, 4, (3, len(labels)))
    more = metrics.recalls, metrics.ppvs, metrics.confusion, metrics.aurocs, metrics.macro_auroc
    for metric in [*METRICS, *more]:
        together = metric(probabilities, labels, weights.astype(float))
        for row, w in zip(together, weights, strict=True):
            np.testing.assert_allclose(row, metric(np.repeat(probabilities, w, 0), np.repeat(labels, w)))
    values = probabilities[:, 0]
    together = metrics.class_means(values, labels, 7, weights.astype(float))
    for row, w in zip(together, weights, strict=True):
        copies, copied = np.repeat(values, w), np.repeat(labels, w)
        expected = [copies[copied == c].mean() if (copied == c).any() else np.nan for c in range(7)]
        np.testing.assert_allclose(row, expected)


@pytest.mark.parametrize("levels", [3, 20, 10**6])
def test_auroc_agrees_with_scikit_learn(levels):
    rng = np.random.default_rng(levels)
    positive = rng.random(300) < 0.2
    scores = np.round(rng.random(300) * levels) / levels + 0.2 * positive
    assert area(roc(scores, positive)) == pytest.approx(sklearn.metrics.roc_auc_score(positive, scores))
    weights = rng.integers(0, 3, (4, 300)).astype(float)
    expected = [sklearn.metrics.roc_auc_score(positive, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(area(roc(scores, positive, weights)), expected)
    curve = roc(scores, positive)
    false_positives, sensitivity, thresholds = sklearn.metrics.roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.sensitivity, sensitivity)
    np.testing.assert_allclose(1 - curve.specificity, false_positives, atol=1e-12)
    np.testing.assert_allclose(curve.thresholds, thresholds)


def test_operating_points_by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.05, 0.06, 0.07, 0.08])
    positive = np.array([1, 0, 1, 1, 0] + [0] * 8 + [1], bool)  # 4 positive, 10 others
    curve = roc(scores, positive)

    def values(point: metrics.Point) -> tuple:
        return float(point.threshold), *point.rates.tolist()

    # One false positive of ten is allowed: 0.8. Then 0.7 and 0.6 are found too, and 0.5 would be a second one.
    assert values(at_specificity(curve, 0.9)) == (0.6, 0.75, 0.9)
    assert values(at_specificity(curve, 0.95)) == (0.9, 0.25, 1.0)
    assert values(at_sensitivity(curve, 0.7)) == (0.6, 0.75, 0.9)
    assert values(at_sensitivity(curve, 0.8)) == pytest.approx((0.08, 1, 0.4))
    # No threshold that calls anything positive is specific enough.
    assert values(at_specificity(roc(np.array([0.5, 0.9]), np.array([True, False])), 0.9)) == (np.inf, 0, 1)


@pytest.mark.parametrize("positive", [True, False])
def test_a_curve_of_one_kind_of_image_is_not_defined(positive):
    curve = roc(np.array([0.2, 0.4]), np.array([positive] * 2))
    assert np.isnan(area(curve))
    assert np.isnan([at_specificity(curve, 0.9).rates, at_sensitivity(curve, 0.9).rates]).all()
