"""Intervals by the percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13).

Photographs of one lesion look alike, so whole lesions are resampled with all their photographs (the cluster bootstrap:
Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8). A resample is represented by how
often each image counts, so that all resamples form one matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
"""Coverage of the intervals."""

CHUNK_CELLS = 200_000
"""Resamples times images that are computed at once, so that they fit the processor's cache."""


class Estimate(NamedTuple):
    """A figure and the ends of its interval, arrays of the same shape; NaN where no resample defines the figure."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def clusters_of(names: Sequence[str]) -> np.ndarray:
    """Cluster numbers (N,) from 0: images of the same name share one; an image without a name is its own cluster."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name or i, len(numbers)) for i, name in enumerate(names)], int)


def draw_weights(clusters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One resample of the clusters, with replacement: how often each image counts, float (N,)."""
    count = clusters.max() + 1
    return np.bincount(rng.integers(count, size=count), minlength=count)[clusters].astype(float)


class Bootstrap:
    """Resamples of a set of images, drawn once for all figures.

    Args:
        clusters: (N,), see :func:`clusters_of`.
        resamples: how many, at least 1.
        seed: of the generator; the same seed gives the same intervals.
    """

    def __init__(self, clusters: np.ndarray, resamples: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._weights = np.stack([draw_weights(clusters, rng) for _ in range(resamples)])

    def estimate(self, figure: Callable[[np.ndarray], np.ndarray]) -> Estimate:
        """A figure and its interval.

        ``figure`` maps weights (R, N) to an array (R, ...). A resample in which it is not defined (NaN) is left out of
        the interval.
        """
        resamples, images = self._weights.shape
        value = figure(np.ones((1, images)))[0]
        step = max(1, CHUNK_CELLS // images)
        parts = [figure(self._weights[start : start + step]) for start in range(0, resamples, step)]
        return Estimate(value, *_percentiles(np.concatenate(parts)))


def _percentiles(values: np.ndarray) -> np.ndarray:
    """Lower and upper ends, (2, ...), of the figures (R, ...) of all resamples."""
    ends = np.full((2, *values.shape[1:]), np.nan)
    for index in np.ndindex(values.shape[1:]):
        known = values[(slice(None), *index)]
        known = known[~np.isnan(known)]
        if len(known):
            ends[(slice(None), *index)] = np.percentile(known, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return ends
