"""Figures of a classifier, compared with scikit-learn and computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
)

from evaluate import metrics
from tests.unit.evaluate.sets import BCC, MEL, NV, confident

FIGURES = (
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
    for figure in FIGURES:
        assert type(figure(*predictions)) is float, figure  # a checkpoint that holds numpy's cannot be loaded


def test_a_class_that_is_never_answered_has_no_precision_and_one_without_images_no_sensitivity():
    probabilities, labels = confident([MEL, NV]), np.array([MEL, BCC])
    precisions, recalls = metrics.precisions(probabilities, labels), metrics.recalls(probabilities, labels)
    assert precisions[MEL] == 1 and precisions[NV] == 0 and np.isnan(precisions[BCC])
    assert recalls[MEL] == 1 and recalls[BCC] == 0 and np.isnan(recalls[NV])
    assert metrics.macro_f1(probabilities, labels) == 0.5  # melanoma 1, bcc 0; nv has no image


def test_coverage_and_size_of_sets_by_hand():
    sets = np.zeros((4, 7), bool)
    for image, members in enumerate([[MEL], [MEL, NV], [NV], [BCC, MEL, NV]]):
        sets[image, members] = True
    labels = np.array([MEL, MEL, MEL, NV])
    assert metrics.coverage(sets, labels) == 3 / 4 and metrics.set_size(sets, labels) == 7 / 4
    coverages, sizes = metrics.coverages(sets, labels), metrics.set_sizes(sets, labels)
    assert coverages[[MEL, NV]].tolist() == [2 / 3, 1] and sizes[[MEL, NV]].tolist() == [4 / 3, 3]
    assert np.isnan(np.delete(coverages, [MEL, NV])).all() and np.isnan(np.delete(sizes, [MEL, NV])).all()


def test_weights_count_images_as_often_as_copies_would(predictions):
    """The whole bootstrap rests on this."""
    probabilities, labels = predictions
    weights = np.random.default_rng(1).integers(0, 4, (3, len(labels)))
    for figure in [*FIGURES, metrics.recalls, metrics.precisions, metrics.confusion]:
        together = figure(probabilities, labels, weights.astype(float))
        for row, w in zip(together, weights, strict=True):
            np.testing.assert_allclose(row, figure(np.repeat(probabilities, w, 0), np.repeat(labels, w)))
    sets = probabilities > 0.2
    for figure in (metrics.coverage, metrics.coverages, metrics.set_size, metrics.set_sizes):
        for row, w in zip(figure(sets, labels, weights.astype(float)), weights, strict=True):
            np.testing.assert_allclose(row, figure(np.repeat(sets, w, 0), np.repeat(labels, w)))
