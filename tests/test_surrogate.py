"""The local model, against lime's own regression and against data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from lime.lime_base import LimeBase
from sklearn.metrics import pairwise_distances

from handler import surrogate
from handler.surrogate import fit, kernel, log_odds, shared_by_pairs


def sampled(n: int, regions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Masks in opposite pairs, the first of ones, and probabilities of three classes with an interaction."""
    rng = np.random.default_rng(seed)
    half = rng.random((n // 2, regions)) < 0.5
    half[0] = True
    masks = np.stack([half, ~half], 1).reshape(-1, regions)
    first = masks @ np.linspace(-0.05, 0.1, regions) + 0.2 * (masks[:, 0] & masks[:, 1])
    return masks, np.stack([first, 0.5 - first / 2, 0.5 - first / 2], 1)


def kernel_of_lime(distances: np.ndarray) -> np.ndarray:
    return np.sqrt(np.exp(-(distances**2) / 0.25**2))


@pytest.mark.parametrize("label", [0, 1, 2])
def test_the_fit_is_that_of_lime(label: int):
    masks, outcomes = sampled(300, 12)
    shared = shared_by_pairs(kernel(masks))
    intercept, expected, score, whole = LimeBase(lambda distances: shared).explain_instance_with_data(
        masks.astype(int), outcomes, np.zeros(300), label, 12, feature_selection="none"
    )
    result = fit(masks, outcomes)
    np.testing.assert_allclose(result.weights[label], [w for _, w in sorted(expected)], atol=1e-9)
    assert result.intercepts[label] == pytest.approx(intercept)
    assert result.r2[label] == pytest.approx(score)
    assert result.whole[label] == pytest.approx(masks[0] @ result.weights[label] + intercept)
    assert result.whole[label] == pytest.approx(whole.item())  # the first mask shows everything


def test_the_kernel_is_that_of_lime():
    masks = np.random.default_rng(0).random((50, 9)) < 0.5
    masks[0] = True
    distances = pairwise_distances(masks.astype(int), masks[:1].astype(int), metric="cosine").ravel()
    np.testing.assert_allclose(kernel(masks), kernel_of_lime(distances))


def test_opposites_weigh_the_same_and_all_together_as_before():
    weight = np.array([1.0, 3.0, 2.0, 2.0, 5.0])
    np.testing.assert_array_equal(shared_by_pairs(weight), [2, 2, 2, 2, 5])
    np.testing.assert_array_equal(weight, [1, 3, 2, 2, 5])


def test_what_a_pair_of_regions_does_is_not_blamed_on_a_third():
    """Opposites cancel it: exactly, whatever the masks."""
    rng = np.random.default_rng(1)
    half = rng.random((40, 6)) < 0.5
    masks = np.stack([half, ~half], 1).reshape(-1, 6)
    signs = np.where(masks, 1, -1)
    outcomes = (signs[:, 0] * signs[:, 1])[:, None].astype(float)
    np.testing.assert_allclose(fit(masks, outcomes).weights, 0, atol=1e-12)


def test_log_odds_add_up_and_are_bounded():
    p = np.array([0.5, 0.9, 0.0, 1.0, np.nextafter(np.float32(1), np.float32(0))], np.float32)
    odds = log_odds(p)
    assert odds.dtype == np.float64 and np.isfinite(odds).all()
    np.testing.assert_allclose(odds[:2], [0, np.log(9)], atol=1e-6)
    assert odds[2] == pytest.approx(-odds[3]) == pytest.approx(np.log(1e-4 / (1 - 1e-4)))


def test_the_design_effect_scales_variances_alone():
    plain, halved = fit(*sampled(200, 10)), fit(*sampled(200, 10), design_effect=0.5)
    np.testing.assert_allclose(halved.covariances, plain.covariances / 2)
    np.testing.assert_array_equal(halved.weights, plain.weights)


def test_standard_errors_are_the_scatter_of_many_fits():
    weights = np.array([fit(*sampled(200, 10, seed)).weights[0] for seed in range(300)])
    errors = np.mean([fit(*sampled(200, 10, seed)).standard_errors(0) for seed in range(30)], axis=0)
    np.testing.assert_allclose(errors, weights.std(0), rtol=0.35)


def test_stability_foresees_how_two_explanations_agree():
    def strongest(weights: np.ndarray) -> set[int]:
        return set(np.argsort(-weights)[: surrogate.TOP])

    found, foreseen = [], []
    for seed in range(60):
        one, two = (fit(*sampled(64, 14, s)) for s in (seed, 1000 + seed))
        a, b = strongest(one.weights[0]), strongest(two.weights[0])
        found.append(len(a & b) / len(a | b))
        foreseen.append(one.stability(0))
    assert np.mean(foreseen) == pytest.approx(np.mean(found), abs=0.12)
    assert 0.2 < np.mean(found) < 0.95


def test_stability_rises_with_samples_to_one():
    values = [fit(*sampled(n, 14)).stability(0) for n in (32, 128, 1024, 8192)]
    assert values == sorted(values) and values[-1] > 0.97


def test_nothing_to_explain_is_a_perfect_fit_of_nothing():
    masks, _ = sampled(64, 10)
    result = fit(masks, np.full((64, 2), 0.5))
    np.testing.assert_allclose(result.weights, 0, atol=1e-12)
    assert np.isfinite(result.r2).all() and 0 <= result.stability(0) <= 1


def test_fewer_regions_than_ranks_and_an_odd_sample_are_no_error():
    for regions in (1, 2, 4):
        masks, outcomes = sampled(20, max(regions, 2))
        assert 0 <= fit(masks[:19, :regions], outcomes[:19]).stability(0) <= 1
