"""Masks: which regions each perturbed photograph shows.

LIME tosses a coin for each region. Here the masks are the rows of a two-level fractional factorial design with
fold-over (Box and Hunter, "The 2^(k-p) fractional factorial designs", Technometrics 1961). Each mask is followed by its
complement, so that no interaction of two regions is confounded with the effect of one, and the columns are chosen so
that few interactions of three are. As in a digital net, the first 2^k masks are such a design for every k. Random signs
make the remaining confounding average out over designs (randomised quasi-Monte Carlo: Owen, "Randomly permuted
(t,m,s)-nets", 1995).

Columns can be assigned to regions in any order. In a network, regions that are close together interact most, so the
columns are assigned such that the interactions that remain confounded are those of distant regions. That divides the
squared error of the weights from 128 or 256 masks by two to three.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations

import numpy as np

BITS = 11
"""A design has 2 ** BITS masks and their complements; another one follows it."""

MIN_BITS = 5
FIRST_BITS = 6
"""Columns are assigned for designs of at least 2 ** FIRST_BITS pairs; only a deadline ends sampling with fewer."""

PAIR_SHARE = 0.03
"""Weight of the confounding of two pairs' interactions, relative to that of a region with three others.

With 0, weights from 256 masks are slightly more precise, but their pairs are hard to distinguish.
"""

SEARCH_STARTS = 30
"""Starting points of the local search for the columns, for each size of design."""


def blocks(
    regions: int, rng: np.random.Generator, size: int, closeness: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """An endless sequence of boolean masks (size, regions), whose rows 2k and 2k + 1 are complements.

    Args:
        regions: number of regions.
        rng: determines the order of the columns and their signs.
        size: a power of two, at most 2 ** (BITS + 1).
        closeness: of the regions, as ``regions.closeness``; without it, the order of the columns is random.
    """
    generators = _generators(regions)
    rows = np.arange(2**BITS)
    while True:
        order = rng.permutation(regions)
        if closeness is not None:
            order = _separating_order(order, closeness, rng)
        columns = np.empty_like(generators)
        columns[order] = generators
        signs = rng.random(regions) < 0.5
        half = _parity(rows[:, None] & columns) ^ signs
        design = np.stack([half, ~half], axis=1).reshape(-1, regions)
        yield from design.reshape(-1, size, regions)


def confounding(masks: np.ndarray, closeness: np.ndarray | None = None) -> np.ndarray:
    """How much third-order interactions bias the effect of each region, (regions,), relative to random masks.

    The error of a region's effect is the sum of the interactions of three other regions, each times the mean product
    of the four columns, coded as +1 and -1 (the alias matrix: Box and Draper, "Response Surfaces, Mixtures, and Ridge
    Analyses", 2007). It is zero where all these means are, and one on average for independent coins.

    Args:
        masks: boolean (N, regions), rows 2k and 2k + 1 complementary; an odd row at the end is ignored.
        closeness: of the regions, as :func:`handler.explain.lime.regions.closeness`: an interaction's expected size is
            :func:`closeness_of_three`. Without it, all are equal.
    """
    signs = np.where(masks[: len(masks) // 2 * 2 : 2], np.float32(1), np.float32(-1))
    pairs, regions = signs.shape
    if regions < 4:
        return np.zeros(regions)
    close = np.ones((regions, regions)) if closeness is None else closeness
    triples = np.array(list(combinations(range(regions), 3))).T
    first, second, third = triples
    variances = closeness_of_three(close, triples) ** 2
    alias = signs.T @ (signs[:, first] * signs[:, second] * signs[:, third]) / pairs  # (regions, triples)
    others = (triples[..., None] != np.arange(regions)).all(axis=0).T * variances
    return (alias**2 * others).sum(axis=1) * pairs / others.sum(axis=1)


def closeness_of_three(closeness: np.ndarray, triples: np.ndarray) -> np.ndarray:
    """The closeness of three regions, (N,): the product of that of their pairs. ``triples`` has indices (3, N)."""
    first, second, third = triples
    return closeness[first, second] * closeness[first, third] * closeness[second, third]


@lru_cache
def _generators(regions: int) -> np.ndarray:
    """The generator of each region's column, integers (regions,): its bits select the bits of the row number to XOR.

    Four columns whose exclusive or is zero confound the effect of each with the interaction of the other three. A local
    search for each bit leaves few such quadruples.
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


def _separating_order(order: np.ndarray, closeness: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The region of each column, (regions,): ``order`` improved by swaps until none lowers the confounding."""
    order = order.copy()
    quadruples = _quadruples(len(order))
    variances = closeness**2
    least = _expected_confounding(variances, order[quadruples])
    swaps = np.array(list(combinations(range(len(order)), 2)), int).reshape(-1, 2)
    improved = True
    while improved:
        improved = False
        for swap in rng.permutation(swaps):
            order[swap] = order[swap[::-1]]
            confounded = _expected_confounding(variances, order[quadruples])
            if confounded < least:
                least, improved = confounded, True
            else:
                order[swap] = order[swap[::-1]]
    return order


def _expected_confounding(variances: np.ndarray, sets: np.ndarray) -> float:
    """Expected confounding of regions with triples and of pairs with pairs, within ``sets`` of four regions (N, 4).

    ``variances`` (regions, regions) are of the interactions of pairs; that of three is the product of its pairs'.
    """
    a, b, c, d = sets.T
    ab, cd, ac, bd, ad, bc = (variances[pair] for pair in ((a, b), (c, d), (a, c), (b, d), (a, d), (b, c)))
    triples = ab * ac * bc + ab * ad * bd + ac * ad * cd + bc * bd * cd
    return float((triples + PAIR_SHARE * (ab * cd + ac * bd + ad * bc)).sum())


@lru_cache
def _quadruples(regions: int) -> np.ndarray:
    """The sets of four columns that are confounded in designs of 2 ** FIRST_BITS pairs and more, integers (N, 4).

    A set occurs once for each size of design in which it is confounded.
    """
    columns, sets = _generators(regions), [np.empty((0, 4), int)]
    for bits in range(max(FIRST_BITS, MIN_BITS, (regions - 1).bit_length()), BITS + 1):
        members = _confounded(columns & (2**bits - 1))
        sets.append(np.nonzero(members)[1].reshape(-1, 4))
    return np.concatenate(sets)


def _confounded(columns: np.ndarray) -> np.ndarray:
    """All sets of four columns whose exclusive or is zero: boolean (N, columns)."""
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
