"""The local models with interactions, on games whose interactions are known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np
import pytest

from handler.explain.lime import interactions
from handler.explain.lime.interactions import Interactions
from handler.explain.lime.masks import blocks
from handler.explain.lime.surrogate import fit

REGIONS = 8


def game(masks: np.ndarray) -> np.ndarray:
    """Two regions that count only together, two that can stand in for each other, and one that is alone."""
    z = masks.astype(float)
    return 3 * z[:, 0] * z[:, 1] + 2 * np.maximum(z[:, 2], z[:, 3]) - z[:, 4]


def fit_interactions(masks: np.ndarray, outcomes: np.ndarray, closeness: np.ndarray | None = None) -> Interactions:
    """Of regions that are equally close unless ``closeness`` is given."""
    regions = masks.shape[1]
    return interactions.fit_interactions(
        masks, outcomes, np.ones((regions, regions)) if closeness is None else closeness
    )


def designed(size: int, regions: int = REGIONS, seed: int = 0) -> np.ndarray:
    return next(blocks(regions, np.random.default_rng(seed), size))


def test_interactions_are_found_with_their_signs_and_sizes():
    masks = designed(512)
    found = fit_interactions(masks, game(masks))
    assert [pair[:2] for pair in found.strongest(2)] == [(0, 1), (2, 3)]
    np.testing.assert_allclose([value for *_, value in found.strongest(2)], [3, -2], atol=0.01)
    np.testing.assert_allclose(found.pairs, found.pairs.T)
    assert np.abs(found.strongest(3)[2][2]) < 0.01 and not found.pairs.diagonal().any()
    assert found.r2 > 0.999


def test_weights_are_shapley_values_and_complete():
    """Against Shapley's definition, summed over all coalitions; the game has no interactions of three."""
    masks = designed(512)
    weights = fit(masks, game(masks)[:, None]).weights[0]
    expected = np.zeros(REGIONS)
    for region in range(REGIONS):
        others = [r for r in range(REGIONS) if r != region]
        for size in range(REGIONS):
            for coalition in combinations(others, size):
                pair = np.zeros((2, REGIONS), bool)
                pair[:, list(coalition)] = True
                pair[1, region] = True
                expected[region] += np.diff(game(pair))[0] / (REGIONS * comb(REGIONS - 1, size))
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    assert weights.sum() == pytest.approx(np.diff(game(np.array([[False] * REGIONS, [True] * REGIONS])))[0], abs=1e-5)


def test_pairs_that_a_small_design_confounds_are_not_named(monkeypatch: pytest.MonkeyPatch):
    """With 18 regions and 128 masks, most interactions share their column with another; with 1,024, none does."""
    monkeypatch.setattr(interactions, "MIN_IMPORTANCE", 1e6)  # all regions are equally important
    for size, share in ((128, 0.5), (1024, 1.0)):
        masks = designed(size, 18)
        found = fit_interactions(masks, 3.0 * (masks[:, 0] & masks[:, 1]))
        named = found.strongest(1000)
        assert len(named) == found.distinct[np.triu_indices(18, 1)].sum() and len(named) / 153 <= share
        columns = np.where(masks[::2], 1, -1)
        products = {(i, j): tuple(columns[:, i] * columns[:, j]) for i in range(18) for j in range(i + 1, 18)}
        assert all(list(products.values()).count(products[i, j]) == 1 for i, j, _ in named)
    assert named[0][:2] == (0, 1) and len(named) == 153


def test_a_confounded_pair_is_named_if_it_is_likelier_than_the_others():
    masks = designed(128, 18)
    found = fit_interactions(masks, 3.0 * (masks[:, 0] & masks[:, 1]) + masks[:, 0] + masks[:, 1])
    (pair,) = found.strongest(1)
    assert pair[:2] == (0, 1) and pair[2] == pytest.approx(3, abs=0.3)
    assert not found.distinct[2:, 2:].any()  # regions that do not matter: any of their pairs is as likely


def test_r2_is_that_of_samples_left_out():
    """Noise alone is not explained, however many parameters there are."""
    masks = designed(256, 18)
    noise = np.random.default_rng(0).normal(size=256)
    found = fit_interactions(masks, noise)
    assert found.r2 < 0.1
    fresh, outcomes = designed(512, 18, seed=1), strong_and_weak(18)
    found = fit_interactions(fresh, outcomes(fresh))
    other = designed(2048, 18, seed=3)
    signs = np.where(other, 1.0, -1.0)
    weights = fit(fresh, outcomes(fresh)[:, None]).weights[0]
    predicted = signs @ weights / 2 + np.einsum("ni,nj,ij->n", signs, signs, found.pairs) / 8
    truth = outcomes(other)
    assert found.r2 == pytest.approx(1 - (truth - predicted).var() / truth.var(), abs=0.06)


def test_near_regions_are_expected_to_interact():
    """With 128 masks, the interactions of neighbours in a row are told from those that they are confounded with."""
    regions = 18
    distances = np.abs(np.subtract.outer(range(regions), range(regions)))
    upper, close = np.triu_indices(regions, 1), np.exp(-distances / 2.0)
    interaction = np.triu(np.random.default_rng(0).normal(size=(regions, regions)), 1) * (distances <= 2)
    masks = next(blocks(regions, np.random.default_rng(0), 128, close))
    signs = np.where(masks, 1.0, -1.0)
    outcomes = signs.sum(1) + np.einsum("ni,nj,ij->n", signs, signs, interaction)
    ours, regardless = (
        np.corrcoef(fit_interactions(masks, outcomes, c).pairs[upper], interaction[upper])[0, 1] for c in (close, None)
    )
    assert ours > 0.9 and ours > regardless + 0.1


def strong_and_weak(regions: int) -> Callable[[np.ndarray], np.ndarray]:
    """A noisy outcome of masks; the few regions with large effects also have the large interactions."""
    rng = np.random.default_rng(2)
    effects = rng.exponential(size=regions) ** 2
    interaction = np.triu(rng.normal(size=(regions, regions)), 1) * np.outer(effects, effects) / 2

    def outcomes(masks: np.ndarray) -> np.ndarray:
        signs = np.where(masks, 1.0, -1.0)
        noise = np.random.default_rng(len(masks)).normal(0, 0.5, len(masks))
        return signs @ effects + np.einsum("ni,nj,ij->n", signs, signs, interaction) + noise

    return outcomes


def test_a_constant_outcome_and_few_regions_can_be_fitted():
    masks = designed(64)
    constant = fit_interactions(masks, np.full(64, 0.5))
    assert constant.r2 == 1 and np.abs(constant.pairs).max() < 1e-9
    for regions in (1, 2, 3):
        few = designed(64, regions)[:33]
        found = fit_interactions(few, few.sum(1).astype(float))
        assert np.isfinite(found.r2)
