"""The local model, against lime's own regression and on simulated data."""

from __future__ import annotations

import numpy as np
import pytest
from lime.lime_base import LimeBase
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise_distances

from handler.explain.lime import surrogate
from handler.explain.lime.surrogate import average_over_pairs, fit, kernel, log_odds


def sampled(n: int, regions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Complementary pairs of masks, the first all True, and probabilities of three classes with an interaction."""
    rng = np.random.default_rng(seed)
    half = rng.random((n // 2, regions)) < 0.5
    half[0] = True
    masks = np.stack([half, ~half], 1).reshape(-1, regions)
    first = masks @ np.linspace(-0.05, 0.1, regions) + 0.2 * (masks[:, 0] & masks[:, 1])
    return masks, np.stack([first, 0.5 - first / 2, 0.5 - first / 2], 1)


def noisy(n: int, regions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The same with outcomes that no region explains."""
    masks, outcomes = sampled(n, regions, seed)
    return masks, outcomes + np.random.default_rng(seed).normal(0, 0.05, (n, 1)) * [1, -1, 0]


@pytest.mark.parametrize("label", [0, 2])
def test_the_fit_equals_that_of_lime(label: int):
    """With our penalty in place of its own."""
    masks, outcomes = sampled(300, 12)
    shared = average_over_pairs(kernel(masks))
    intercept, expected, score, whole = LimeBase(lambda distances: shared).explain_instance_with_data(
        masks.astype(int),
        outcomes,
        np.zeros(300),
        label,
        12,
        feature_selection="none",
        model_regressor=Ridge(alpha=surrogate.RIDGE),
    )
    result = fit(masks, outcomes)
    np.testing.assert_allclose(result.weights[label], [w for _, w in sorted(expected)], atol=1e-9)
    assert result.intercepts[label] == pytest.approx(intercept)
    assert result.r2[label] == pytest.approx(score)
    assert result.whole[label] == pytest.approx(masks[0] @ result.weights[label] + intercept)
    assert result.whole[label] == pytest.approx(whole.item())  # the first mask shows everything


def test_the_kernel_equals_that_of_lime():
    masks = np.random.default_rng(0).random((50, 9)) < 0.5
    masks[0] = True
    distances = pairwise_distances(masks.astype(int), masks[:1].astype(int), metric="cosine").ravel()
    np.testing.assert_allclose(kernel(masks), np.sqrt(np.exp(-(distances**2) / 0.25**2)))


def test_an_interaction_of_two_regions_does_not_bias_a_weight():
    """It cancels exactly between complements, for any masks."""
    rng = np.random.default_rng(1)
    half = rng.random((40, 6)) < 0.5
    masks = np.stack([half, ~half], 1).reshape(-1, 6)
    signs = np.where(masks, 1, -1)
    outcomes = (signs[:, 0] * signs[:, 1])[:, None].astype(float)
    np.testing.assert_allclose(fit(masks, outcomes).weights, 0, atol=1e-12)


def test_log_odds_are_symmetric_and_bounded():
    p = np.array([0.5, 0.9, 0.0, 1.0, np.nextafter(np.float32(1), np.float32(0))], np.float32)
    odds = log_odds(p)
    assert odds.dtype == np.float64 and np.isfinite(odds).all()
    np.testing.assert_allclose(odds[:2], [0, np.log(9)], atol=1e-6)
    assert odds[2] == pytest.approx(-odds[3]) == pytest.approx(np.log(1e-4 / (1 - 1e-4)))


def test_the_design_effect_scales_only_the_covariances():
    plain, halved = fit(*sampled(200, 10)), fit(*sampled(200, 10), design_effect=0.5)
    np.testing.assert_allclose(halved.covariances, plain.covariances / 2)
    np.testing.assert_array_equal(halved.weights, plain.weights)


def test_standard_errors_match_the_scatter_of_many_fits():
    weights = np.array([fit(*sampled(200, 10, seed)).weights[0] for seed in range(300)])
    errors = np.mean([fit(*sampled(200, 10, seed)).standard_errors(0) for seed in range(30)], axis=0)
    np.testing.assert_allclose(errors, weights.std(0), rtol=0.35)


def test_stability_estimates_the_agreement_of_two_explanations():
    def strongest(weights: np.ndarray) -> set[int]:
        return set(np.argsort(-weights)[: surrogate.TOP_K])

    observed, estimated = [], []
    for seed in range(60):
        one, two = (fit(*noisy(64, 14, s)) for s in (seed, 1000 + seed))
        a, b = strongest(one.weights[0]), strongest(two.weights[0])
        observed.append(len(a & b) / len(a | b))
        estimated.append(one.stability(0))
    assert np.mean(estimated) == pytest.approx(np.mean(observed), abs=0.12)
    assert 0.2 < np.mean(observed) < 0.95


def test_a_constant_output_has_zero_weights_and_a_perfect_fit():
    masks, _ = sampled(64, 10)
    result = fit(masks, np.full((64, 2), 0.5))
    np.testing.assert_allclose(result.weights, 0, atol=1e-12)
    assert np.isfinite(result.r2).all() and 0 <= result.stability(0) <= 1


def test_few_regions_and_an_odd_number_of_samples_can_be_fitted():
    for regions in (1, 2, 4):
        masks, outcomes = sampled(20, max(regions, 2))
        assert 0 <= fit(masks[:19, :regions], outcomes[:19]).stability(0) <= 1
