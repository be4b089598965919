"""Explanations by this project and by the lime package, in a common format."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from lime.lime_image import LimeImageExplainer

from handler.engines.classifier import Sampler
from handler.explain.lime.explainer import Budget, LimeExplainer, MakeSampler

LIME_SAMPLES = 1000
"""The default of lime's ``explain_instance``."""

UNREACHABLE = 2.0
"""A stability that never stops the sampling."""

Probabilities = Callable[[np.ndarray], np.ndarray]
"""Maps ``uint8`` images (N, H, W, 3) to probabilities (N, classes)."""


@dataclass(frozen=True)
class Explained:
    """One explanation; values that a method does not provide are NaN.

    Attributes:
        weights: (regions,).
        segments: (H, W), the number of each pixel's region.
        samples: number of perturbed photographs.
        seconds: wall-clock time, segmentation included.
        r2: of the linear model.
        r2_with_pairs: of the model with interactions of pairs, on samples left out.
        stability: the Jaccard index that the method itself expects between two of its explanations.
        reached: whether that is the precision's target.
        variance: sum of the squared standard errors of the weights.
    """

    weights: np.ndarray
    segments: np.ndarray
    samples: int = 0
    seconds: float = 0.0
    r2: float = np.nan
    r2_with_pairs: float = np.nan
    stability: float = np.nan
    reached: float = np.nan
    variance: float = np.nan

    def pixels(self) -> np.ndarray:
        """Each pixel's weight, (H, W)."""
        return self.weights[self.segments]

    def strongest(self, count: int = 5) -> frozenset[int]:
        """The regions with the largest positive weights."""
        ranked = np.argsort(-self.weights, kind="stable")[:count]
        return frozenset(int(region) for region in ranked if self.weights[region] > 0)


def ours(sampler: MakeSampler, square: np.ndarray, label: int, budget: Budget, seed: int) -> Explained:
    """An explanation by :mod:`handler.explain.lime`."""
    result = LimeExplainer(sampler).explain(square, label, budget, seed=seed)
    return Explained(
        weights=result.weights,
        segments=result.segments,
        samples=result.samples,
        seconds=result.seconds,
        r2=_or_nan(result.r2),
        r2_with_pairs=_or_nan(result.r2_with_pairs),
        stability=_or_nan(result.stability),
        reached=np.nan if result.stability is None else result.stability >= result.target,
        variance=float((result.standard_errors**2).sum()),
    )


def _or_nan(figure: float | None) -> float:
    return np.nan if figure is None else figure


def lime(probabilities: Probabilities, square: np.ndarray, label: int, seed: int) -> Explained:
    """lime's own explainer with its defaults. Its segmentation is seeded, so that all runs have the same regions."""
    started = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        result = LimeImageExplainer(random_state=seed).explain_instance(
            square, probabilities, labels=(label,), top_labels=None, num_samples=LIME_SAMPLES, random_seed=0
        )
    weights = np.array([weight for _, weight in sorted(result.local_exp[label])])
    return Explained(weights, result.segments, LIME_SAMPLES, time.perf_counter() - started, float(result.score))


def cached(make_sampler: MakeSampler) -> MakeSampler:
    """Samplers for one photograph that classify each mask only once, for all explanations of it."""
    answers: dict[bytes, np.ndarray] = {}

    def make(square: np.ndarray, hidden: np.ndarray, segments: np.ndarray) -> Sampler:
        sample = make_sampler(square, hidden, segments)

        def run(masks: np.ndarray) -> np.ndarray:
            keys = [mask.tobytes() for mask in masks]
            new = [i for i, key in enumerate(keys) if key not in answers]
            if new:
                answers.update(zip([keys[i] for i in new], sample(masks[new]), strict=True))
            return np.stack([answers[key] for key in keys])

        return run

    return make
