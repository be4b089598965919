"""Intervals by the percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13).

Photographs of one lesion look alike, so whole lesions are resampled, each with all its photographs (the cluster
bootstrap: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8). A resample is not a list
of images but how often each counts, so that all resamples are computed as one matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
"""Share of the resamples' figures that lie inside an interval."""

CELLS = 200_000
"""Resamples times images that are computed at once: little enough for the processor's cache."""

Figures = dict[Hashable, np.ndarray]
"""Figures by name, each of shape (R, ...) for weights of shape (R, N)."""


class Estimate(NamedTuple):
    """A figure and its interval; three arrays of one shape. NaN where no resample defines the figure."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def clusters_of(names: Sequence[str]) -> np.ndarray:
    """A number from 0 for each image (N,), equal for equal names; an image without a name (empty) is on its own."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name or i, len(numbers)) for i, name in enumerate(names)], int)


def draw_weights(clusters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One resample: as many clusters as there are, with replacement. How often each image counts, float (N,)."""
    count = clusters.max() + 1
    return np.bincount(rng.integers(count, size=count), minlength=count)[clusters].astype(float)


def estimates(
    figures: Callable[[np.ndarray], Figures], clusters: np.ndarray, resamples: int, seed: int
) -> dict[Hashable, Estimate]:
    """Every figure of ``figures`` with its interval.

    Args:
        figures: from weights (R, N) to :data:`Figures`; it is called with ones for the value itself.
        clusters: (N,), see :func:`clusters_of`.
        resamples: how many, at least 1. One in which a figure is not defined (NaN) is left out of its interval.
        seed: of the generator; the same seed gives the same intervals.
    """
    rng = np.random.default_rng(seed)
    values = figures(np.ones((1, len(clusters))))
    at_once = max(1, CELLS // len(clusters))
    parts = [
        figures(np.stack([draw_weights(clusters, rng) for _ in range(min(at_once, resamples - start))]))
        for start in range(0, resamples, at_once)
    ]
    return {
        name: Estimate(value[0], *_percentiles(np.concatenate([part[name] for part in parts])))
        for name, value in values.items()
    }


def _percentiles(values: np.ndarray) -> np.ndarray:
    """Lower and upper end, (2, ...), of the figures (R, ...) of all resamples."""
    ends = np.full((2, *values.shape[1:]), np.nan)
    for index in np.ndindex(values.shape[1:]):
        known = values[(slice(None), *index)]
        known = known[~np.isnan(known)]
        if len(known):
            ends[(slice(None), *index)] = np.percentile(known, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return ends
