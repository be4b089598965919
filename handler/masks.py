"""Which regions are shown in each perturbed photograph.

Instead of a coin for each region, masks are the rows of a two-level fractional factorial design with fold-over (Box and
Hunter, "The 2^(k-p) fractional factorial designs", Technometrics 1961): each mask comes with its opposite, so that
pairs of regions cannot blur the weight of one, and the columns are chosen such that as few triples as possible can. As
in a digital net, any power of two of the first masks is such a design; random signs and a random order of the columns
(as in randomised quasi-Monte Carlo: Owen, "Randomly permuted (t,m,s)-nets", 1995) make the rest average out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations

import numpy as np

BITS = 11
"""A design has 2 ** BITS masks and their opposites; then another begins."""

LEAST_BITS = 5
TRIES = 30
"""For the columns of each size of design: starts of a local search."""


def blocks(regions: int, rng: np.random.Generator, size: int) -> Iterator[np.ndarray]:
    """Boolean masks (size, regions) without end; rows 2k and 2k + 1 are opposites. ``size`` is a power of two."""
    generators = _generators(regions)
    rows = np.arange(2**BITS)
    while True:
        columns = rng.permutation(generators)
        signs = rng.random(regions) < 0.5
        half = _parity(rows[:, None] & columns) ^ signs
        design = np.stack([half, ~half], axis=1).reshape(-1, regions)
        yield from design.reshape(-1, size, regions)


@lru_cache
def _generators(regions: int) -> np.ndarray:
    """(regions,) integers whose bits say which bits of a row's number make up the column of a region.

    Four columns whose sum is zero confound each of theirs with the three others together. Bit by bit, as few such
    quadruples are left as a local search finds.
    """
    bits = max(LEAST_BITS, (regions - 1).bit_length())
    rng = np.random.default_rng(0)
    drawn = (rng.permutation(2**bits)[:regions] for _ in range(TRIES))
    columns, quadruples = min(((c, _confounded(c)) for c in drawn), key=lambda found: len(found[1]))
    while bits < BITS:
        found = (_separating(quadruples, rng) for _ in range(TRIES))
        bit, quadruples = min(((b, quadruples[_even(quadruples, b)]) for b in found), key=lambda f: len(f[1]))
        columns = columns | bit << bits
        bits += 1
    return columns


def _confounded(columns: np.ndarray) -> np.ndarray:
    """Boolean (N, columns): all sets of four columns whose sum (exclusive or) is zero."""
    pairs: dict[int, list[tuple[int, int]]] = {}
    for i, j in combinations(range(len(columns)), 2):
        pairs.setdefault(int(columns[i] ^ columns[j]), []).append((i, j))
    sets = {frozenset(one + two) for same in pairs.values() for one, two in combinations(same, 2)}
    members = np.zeros((len(sets), len(columns)), bool)
    for row, each in zip(members, sorted(map(sorted, sets)), strict=True):
        row[each] = True
    return members


def _separating(quadruples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A bit for each column, 0 or 1, of which few quadruples have an even number set: flipped as long as that helps."""
    bit = rng.integers(0, 2, quadruples.shape[1])
    while True:
        gain = quadruples.T @ np.where(_even(quadruples, bit), 1, -1)
        best = int(gain.argmax())
        if gain[best] <= 0:
            return bit
        bit[best] ^= 1


def _even(quadruples: np.ndarray, bit: np.ndarray) -> np.ndarray:
    return quadruples @ bit % 2 == 0


def _parity(numbers: np.ndarray) -> np.ndarray:
    """Boolean: whether an odd number of the bits is set, of numbers below 2 ** 16."""
    for shift in (8, 4, 2, 1):
        numbers = numbers ^ numbers >> shift
    return numbers & 1 == 1
