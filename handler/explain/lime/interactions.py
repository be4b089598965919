"""The second-order local model: interactions of pairs of regions, and how well the explanation fits.

A linear model of 18 regions leaves much of a network's behaviour unexplained; interactions of pairs explain most of
that. Regions are coded as +1 (shown) and -1 (hidden), so that complementary masks separate the model into two parts:
half the difference of two complements depends only on the main effects and third-order interactions, half their sum
only on the interactions of pairs. So the latter change no weight of the linear model. The weights are also the Shapley
values of the second-order model as a game whose players are the regions (Lundberg and Lee, "A Unified Approach to
Interpreting Model Predictions", NeurIPS 2017), because an interaction in this coding has the same value when nothing
and when everything is shown.

Regions with large main effects are more likely to interact ("effect heredity": Hamada and Wu, "Analysis of Designed
Experiments with Complex Aliasing", Journal of Quality Technology 1992). The prior standard deviation of an interaction
is therefore proportional to the product of its regions' main effects, each plus a constant, and to their closeness. A
small design cannot distinguish all interactions; the prior then decides between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from handler.explain.lime.surrogate import average_over_pairs, kernel

PENALTIES = 10.0 ** np.arange(-2, 4.25, 0.25)
"""Candidates for the ridge penalty of the interactions; the one with the smallest leave-one-out error is used."""

MIN_IMPORTANCE = 0.6
"""Importance of a region without a main effect, added to that of the main effect relative to the largest one.

On 24 validation photographs, 0.3 to 1.5 predicted left-out samples about equally well, for 128 to 1,024 masks.
"""

MAX_SIMILARITY = 0.5
"""From this similarity on, two pairs of regions cannot be distinguished.

It is the correlation of the products of their columns, times the ratio of the other pair's prior deviation to this
one's where that is less than 1. On 24 validation photographs, the three strongest distinct pairs of 128 masks had the
sign that 2,048 other masks give them in 144 of 144 cases, and were among the latter's five strongest in 131.
"""


@dataclass(frozen=True)
class Interactions:
    """The second-order model of one class.

    Attributes:
        pairs: symmetric (regions, regions) with a zero diagonal: what two regions add to the log-odds together beyond
            the sum of their separate effects, averaged over the other regions. Negative if they are redundant.
        distinct: boolean (regions, regions), whether the interaction can be distinguished from those of all other
            pairs. In a small design, some pairs of columns have the same product; then a pair is distinct only if its
            prior deviation is at least twice that of the others.
        r2: share of the variance of left-out samples that the model explains, leaving out each pair of complements in
            turn; may be negative.
    """

    pairs: np.ndarray
    distinct: np.ndarray
    r2: float

    def strongest(self, count: int) -> list[tuple[int, int, float]]:
        """The ``count`` largest distinct interactions by absolute value, as (region, region, interaction)."""
        first, second = np.nonzero(np.triu(self.distinct, 1))
        values = self.pairs[first, second]
        order = np.argsort(-np.abs(values), kind="stable")[:count]
        return [(int(first[k]), int(second[k]), float(values[k])) for k in order]


def fit_interactions(masks: np.ndarray, outcomes: np.ndarray, closeness: np.ndarray) -> Interactions:
    """Fit the second-order model.

    Args:
        masks: boolean (N, regions), rows 2k and 2k + 1 complementary; an odd row at the end is ignored.
        outcomes: log-odds of one class, (N,).
        closeness: of the regions, as :func:`handler.explain.lime.regions.closeness`.
    """
    regions, even = masks.shape[1], len(masks) // 2 * 2
    first, second = np.array(list(combinations(range(regions), 2)), int).reshape(-1, 2).T
    signs = np.where(masks[:even:2], 1.0, -1.0)
    weight = average_over_pairs(kernel(masks[:even]))[::2]
    odd, both = (outcomes[:even:2] - outcomes[1:even:2]) / 2, (outcomes[:even:2] + outcomes[1:even:2]) / 2
    effects, odd_errors = _ridge(signs, odd, weight, PENALTIES[:1], intercept=False)
    importance = np.abs(effects) / max(np.abs(effects).max(), np.finfo(float).tiny) + MIN_IMPORTANCE
    products = signs[:, first] * signs[:, second]
    prior = _scaled(importance[first] * importance[second] * closeness[first, second])
    values, both_errors = _ridge(products * prior, both, weight, PENALTIES, intercept=True)
    mean = weight @ both / weight.sum()
    total = weight @ (odd**2 + (both - mean) ** 2)
    unexplained = weight @ (odd_errors**2 + both_errors**2)
    pairs = np.zeros((regions, regions))
    pairs[first, second] = pairs[second, first] = 4 * values * prior  # a step from -1 to +1 in both factors
    similarity = np.abs(products.T @ products) / len(products)
    np.fill_diagonal(similarity, 0)
    confusable = similarity * np.minimum(prior / prior[:, None], 1)  # by row, for each other pair
    distinct = np.zeros((regions, regions), bool)
    distinct[first, second] = distinct[second, first] = (confusable < MAX_SIMILARITY).all(axis=1)
    return Interactions(pairs, distinct, float(1 - unexplained / total) if total > 0 else 1.0)


def _scaled(deviations: np.ndarray) -> np.ndarray:
    """Relative to the greatest, so that the same penalties suit all photographs."""
    return deviations / deviations.max(initial=np.finfo(float).tiny)


def _ridge(
    design: np.ndarray, outcomes: np.ndarray, weight: np.ndarray, penalties: np.ndarray, *, intercept: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted ridge regression with the penalty of the smallest leave-one-out error.

    Returns:
        The coefficients (columns,) and the leave-one-out errors (N,), both in closed form (Allen, Technometrics 1974).
    """
    share = weight / weight.sum()
    level = share @ outcomes if intercept else 0.0
    centred = design - share @ design if intercept else design
    root = np.sqrt(weight)
    left, singular, right = np.linalg.svd(centred * root[:, None], full_matrices=False)
    projected = left.T @ ((outcomes - level) * root)
    shrinkage = singular**2 / (singular**2 + penalties[:, None])  # (penalties, components)
    fitted = (left @ (shrinkage * projected).T).T / root
    leverage = shrinkage @ (left**2).T + (share if intercept else 0.0)
    errors = (outcomes - level - fitted) / np.maximum(1 - leverage, 1e-9)
    best = int((errors**2 @ weight).argmin())
    scaled = np.divide(shrinkage[best] * projected, singular, out=np.zeros_like(singular), where=singular > 1e-9)
    return right.T @ scaled, errors[best]
