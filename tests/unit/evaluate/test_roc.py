"""The ROC curve, compared with scikit-learn and computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from evaluate.roc import area, at_sensitivity, at_specificity, roc


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
