"""The masks' factorial design."""

from __future__ import annotations

from itertools import combinations, islice

import numpy as np
import pytest

from handler.explain.lime.masks import blocks, confounding


def masks(count: int, regions: int, seed: int = 0, size: int = 32) -> np.ndarray:
    drawn = islice(blocks(regions, np.random.default_rng(seed), size), count // size)
    return np.concatenate(list(drawn))


def signs(shown: np.ndarray) -> np.ndarray:
    return np.where(shown, 1, -1)


@pytest.mark.parametrize(("regions", "count"), [(3, 64), (18, 64), (18, 1024), (50, 128)])
def test_regions_pairs_and_triples_are_shown_equally_often(regions: int, count: int):
    """Among the first masks, for any power of two."""
    s = signs(masks(count, regions))
    assert (s.sum(0) == 0).all()
    np.testing.assert_array_equal(s.T @ s, count * np.eye(regions))
    assert (np.einsum("ni,nj,nk->ijk", s, s, s) == 0).all()


def confounded(s: np.ndarray) -> int:
    """Number of sets of four regions whose signs have the same product in all masks."""
    regions = s.shape[1]
    pairs = np.stack([s[:, i] * s[:, j] for i in range(regions) for j in range(i)], axis=1)
    same = np.abs(pairs.T @ pairs) == len(s)
    return (same.sum() - len(same)) // 6  # a set has three splits into two pairs, each counted twice


def test_few_triples_are_confounded_with_a_region_and_finally_none():
    by_chance = [18 * 17 * 16 * 15 / 24 / 2**bits for bits in (5, 6, 7, 8)]  # of random columns
    left = [confounded(signs(masks(2 ** (bits + 1), 18))) for bits in (5, 6, 7, 8, 9)]
    assert all(ours < chance for ours, chance in zip(left[1:], by_chance[1:], strict=False))
    assert left[2] <= 16 and left[3] <= 4 and left[4] == 0


def test_masks_come_in_complementary_pairs_that_the_seed_determines():
    shown = masks(256, 20)
    np.testing.assert_array_equal(shown[0::2], ~shown[1::2])
    assert (shown == masks(256, 20)).all() and not (shown == masks(256, 20, seed=1)).all()


def test_an_exhausted_design_is_followed_by_another():
    shown = masks(8192, 20)
    assert not (shown[:4096] == shown[4096:]).all()
    assert len(np.unique(shown[:4096], axis=0)) == 4096


def test_signs_are_random():
    """Otherwise all seeds would share the same bias from confounded interactions."""
    first = np.stack([masks(32, 18, seed)[0] for seed in range(400)])
    assert np.abs(first.mean(0) - 0.5).max() < 0.1


def near(regions: int) -> np.ndarray:
    """Closeness of regions that are scattered over a square."""
    centres = np.random.default_rng(4).random((regions, 2))
    return np.exp(-np.linalg.norm(centres[:, None] - centres, axis=-1) / 0.18)


@pytest.mark.parametrize("size", [128, 256])
def test_columns_are_dealt_out_so_that_distant_regions_are_confounded(size: int):
    close = near(18)
    ours, at_random = (
        np.mean([confounding(next(blocks(18, np.random.default_rng(seed), size, c)), close) for seed in range(10)])
        for c in (close, None)
    )
    assert ours < at_random / 5


def test_the_order_of_the_columns_differs_between_seeds_and_loses_no_property():
    designs = [next(blocks(18, np.random.default_rng(seed), 256, near(18))) for seed in (0, 0, 1)]
    assert (designs[0] == designs[1]).all()
    quadruples = [np.abs(signs(d).T @ (signs(d)[:, :1] * signs(d)[:, 1:2] * signs(d))) for d in designs]
    assert not (quadruples[0] == quadruples[2]).all()  # other sets of four are confounded, not only other signs
    for s in map(signs, designs):
        np.testing.assert_array_equal(s.T @ s, 256 * np.eye(18))
        assert (np.einsum("ni,nj,nk->ijk", s, s, s) == 0).all()


@pytest.mark.parametrize("regions", [1, 3])
def test_few_regions_have_a_design_too(regions: int):
    assert next(blocks(regions, np.random.default_rng(0), 128, near(regions))).shape == (128, regions)


@pytest.mark.parametrize("close", [None, near(8)])
def test_confounding_is_the_variance_that_interactions_of_three_cause(close: np.ndarray | None):
    """Weighted by the closeness of their regions, if that is given."""
    masks = next(blocks(8, np.random.default_rng(1), 16))
    signs = np.where(masks[::2], 1.0, -1.0)
    expected = np.ones((8, 8)) if close is None else close
    for region, found in enumerate(confounding(masks, close)):
        others = [t for t in combinations(range(8), 3) if region not in t]
        alias = np.array([(signs[:, region] * signs[:, list(t)].prod(axis=1)).mean() for t in others])
        size = np.array([(expected[i, j] * expected[i, k] * expected[j, k]) ** 2 for i, j, k in others])
        assert found == pytest.approx(alias**2 @ size / size.sum() * len(signs), abs=1e-5)
