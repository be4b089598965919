"""Masks: which regions each perturbed photograph shows.

LIME tosses a coin for each region. Here the masks are the rows of a two-level fractional factorial design with
fold-over (Box and Hunter, "The 2^(k-p) fractional factorial designs", Technometrics 1961). Each mask is followed by its
complement, so that no interaction of two regions is confounded with the effect of one, and the columns are chosen so
that few interactions of three are. As in a digital net, the first 2^k masks are such a design for every k. Random signs
and a random order of the columns make the remaining confounding average out over designs (randomised quasi-Monte Carlo:
Owen, "Randomly permuted (t,m,s)-nets", 1995).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np

BITS = 11
"""A design has 2 ** BITS masks and their complements; after it, another begins."""

MIN_BITS = 5
SEARCH_STARTS = 30
"""Starting points of the local search for the columns of each size of design."""


def blocks(regions: int, rng: np.random.Generator, size: int) -> Iterator[np.ndarray]:
    """An endless sequence of boolean masks (size, regions), of which rows 2k and 2k + 1 are complements.

    ``size`` is a power of two, at most 2 ** (BITS + 1).
    """
    generators = _generators(regions)
    rows = np.arange(2**BITS)
    while True:
        columns = rng.permutation(generators)
        signs = rng.random(regions) < 0.5
        half = _parity(rows[:, None] & columns) ^ signs
        design = np.stack([half, ~half], axis=1).reshape(-1, regions)
        yield from design.reshape(-1, size, regions)


def confounding(masks: np.ndarray) -> np.ndarray:
    """How much interactions of three regions disturb the effect of each, (regions,), relative to random masks.

    The error of a region's effect is the sum of the interactions of three other regions, each times the mean product
    of the four columns, coded as +1 and -1 (the alias matrix: Box and Draper, "Response Surfaces, Mixtures, and Ridge
    Analyses", 2007). It is zero where all these means are, and one on average for independent coins.

    Args:
        masks: boolean (N, regions), rows 2k and 2k + 1 complementary; an odd row at the end is ignored.
    """
    signs = np.where(masks[: len(masks) // 2 * 2 : 2], np.float32(1), np.float32(-1))
    pairs, regions = signs.shape
    if regions < 4:
        return np.zeros(regions)
    first, second = np.triu_indices(regions, 1)
    products = signs[:, first] * signs[:, second]
    squares = (products.T @ products / pairs) ** 2  # of the mean product of two pairs of columns
    holds = (np.arange(regions)[:, None] == first) | (np.arange(regions)[:, None] == second)  # (regions, pairs)
    disjoint = ~(holds.T.astype(np.float32) @ holds > 0)
    totals = holds @ (squares * disjoint).sum(axis=1) / 3  # each set of four is met in three ways
    return totals * pairs / comb(regions - 1, 3)


@lru_cache
def _generators(regions: int) -> np.ndarray:
    """The generator of each region's column, integers (regions,): its bits select those of the row number to add up.

    Four columns that add up to zero confound the effect of each with the interaction of the other three. A local search
    for each bit leaves few such quadruples.
    """
    bits = max(MIN_BITS, (regions - 1).bit_length())
    rng = np.random.default_rng(0)
    starts = (rng.permutation(2**bits)[:regions] for _ in range(SEARCH_STARTS))
    columns, quadruples = min(((c, _confounded(c)) for c in starts), key=lambda pair: len(pair[1]))
    while bits < BITS:
        candidates = (_separating_bit(quadruples, rng) for _ in range(SEARCH_STARTS))
        bit, quadruples = min(
            ((b, quadruples[_even(quadruples, b)]) for b in candidates), key=lambda pair: len(pair[1])
        )
        columns = columns | bit << bits
        bits += 1
    return columns


def _confounded(columns: np.ndarray) -> np.ndarray:
    """All sets of four columns that add up (exclusive or) to zero: boolean (N, columns)."""
    pairs: dict[int, list[tuple[int, int]]] = {}
    for i, j in combinations(range(len(columns)), 2):
        pairs.setdefault(int(columns[i] ^ columns[j]), []).append((i, j))
    sets = {frozenset(one + two) for same in pairs.values() for one, two in combinations(same, 2)}
    members = np.zeros((len(sets), len(columns)), bool)
    for row, each in zip(members, sorted(map(sorted, sets)), strict=True):
        row[each] = True
    return members


def _separating_bit(quadruples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A bit per column, 0 or 1, that is set in an even number of columns of few quadruples, by greedy bit flips."""
    bit = rng.integers(0, 2, size=(quadruples.shape[1],))
    while True:
        gain = quadruples.T @ np.where(_even(quadruples, bit), 1, -1)
        best = int(gain.argmax())
        if gain[best] <= 0:
            return bit
        bit[best] ^= 1


def _even(quadruples: np.ndarray, bit: np.ndarray) -> np.ndarray:
    return quadruples @ bit % 2 == 0


def _parity(numbers: np.ndarray) -> np.ndarray:
    """Whether an odd number of bits is set in each of ``numbers``, which are below 2 ** 16."""
    for shift in (8, 4, 2, 1):
        numbers = numbers ^ numbers >> shift
    return numbers & 1 == 1
