"""The design of the masks."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from handler.masks import blocks


def first(count: int, regions: int, seed: int = 0) -> list[np.ndarray]:
    return list(islice(blocks(regions, np.random.default_rng(seed)), count))


@pytest.mark.parametrize(("regions", "size"), [(1, 4), (3, 8), (4, 16), (31, 64), (32, 128), (50, 128), (64, 256)])
def test_a_block_is_as_small_as_the_regions_allow(regions: int, size: int):
    for block in first(3, regions):
        assert block.shape == (size, regions) and block.dtype == bool


@pytest.mark.parametrize("regions", [3, 30, 50])
def test_each_region_each_pair_and_each_three_are_shown_equally_often(regions: int):
    for block in first(3, regions):
        signs = np.where(block, 1, -1)
        n = len(block)
        assert (signs.sum(0) == 0).all()
        np.testing.assert_array_equal(signs.T @ signs, n * np.eye(regions))
        triples = np.einsum("ni,nj,nk->ijk", signs, signs, signs)
        assert (triples == 0).all()  # of a fold-over: three regions do not blur one either


def test_masks_come_in_opposite_pairs_after_the_photograph_itself():
    one, two = first(2, 40)
    for block in (one, two):
        np.testing.assert_array_equal(block[0::2], ~block[1::2])
    assert one[0].all() and not two[0].all()


def test_masks_depend_on_the_generator_alone():
    again, same, other = first(2, 20), first(2, 20), first(2, 20, seed=1)
    assert all((a == b).all() for a, b in zip(again, same, strict=True))
    assert not (again[0] == other[0]).all() and not (again[0] == again[1]).all()


def test_masks_are_spread_over_all_there_are():
    codes = np.concatenate(first(400, 3)) @ [1, 2, 4]
    assert np.bincount(codes, minlength=8).min() > 300
