"""Intervals by the percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13).

Photographs of one lesion look alike, so whole lesions are resampled with all their photographs (the cluster bootstrap:
Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8). A resample is represented by the
weight of each image, so that all resamples form one matrix.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from evaluate import metrics

LEVEL = 0.95
"""Coverage of the intervals."""

CHUNK_CELLS = 200_000
"""Resamples times images per chunk, which should fit the processor's cache."""


class Estimate(Struct, frozen=True):
    """A value and its interval; None if not defined."""

    value: float | None
    low: float | None
    high: float | None


class Estimates(NamedTuple):
    """Values and their intervals, arrays of the same shape; NaN where a value is not defined."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def at(self, index: int | tuple[int, ...]) -> Estimate:
        """The estimate at ``index``."""
        return Estimate(*(rounded(values[index]) for values in self))


def rounded(value: float) -> float | None:
    """``value`` rounded to six decimals, so that it does not depend on the processor; None for NaN."""
    return None if math.isnan(value) else round(float(value), 6)


def clusters_of(names: Sequence[str]) -> np.ndarray:
    """Cluster numbers (N,) from 0: images of the same name share one; an image without a name is its own cluster."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name or i, len(numbers)) for i, name in enumerate(names)], int)


def draw_weights(clusters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Image weights, float (N,), of one resample of the clusters with replacement."""
    count = clusters.max() + 1
    return np.bincount(rng.integers(count, size=count), minlength=count)[clusters].astype(float)


class Bootstrap:
    """Resamples of a set of images, drawn once for all metrics.

    A metric maps weights (R, N) to an array (R, ...). Intervals ignore resamples in which it is not defined (NaN).

    Args:
        clusters: (N,), see :func:`clusters_of`.
        resamples: their number, at least 1.
        seed: of the generator; the same seed gives the same intervals.
    """

    def __init__(self, clusters: np.ndarray, resamples: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._weights = np.stack([draw_weights(clusters, rng) for _ in range(resamples)])

    def estimate(self, metric: Callable[[np.ndarray], Any]) -> Estimate:
        """A metric (R,) and its interval."""
        return self.estimates(metric).at(())

    def mean(self, values: np.ndarray) -> Estimate:
        """The mean of ``values`` (N,), one of each image, and its interval."""
        return self.estimate(partial(metrics.mean, values))

    def estimates(self, metric: Callable[[np.ndarray], Any]) -> Estimates:
        """A metric (R, ...) of several values, and their intervals."""
        resamples, images = self._weights.shape
        value = metric(np.ones((1, images)))[0]
        step = max(1, CHUNK_CELLS // images)
        parts = [metric(self._weights[start : start + step]) for start in range(0, resamples, step)]
        return Estimates(value, *_percentiles(np.concatenate(parts)))


def _percentiles(values: np.ndarray) -> np.ndarray:
    """Lower and upper ends, (2, ...), of the values (R, ...) of all resamples."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        return np.nanpercentile(values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=0)
