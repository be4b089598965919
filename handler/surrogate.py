"""LIME's local model: a weighted ridge regression of the log-odds of classes on which regions are shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KERNEL_WIDTH = 0.25
RIDGE = 1.0
"""The lime package's own settings for images."""

LEAST_PROBABILITY = 1e-4
"""Below it and above its complement, a class is as good as excluded or certain."""

TOP = 5
"""Regions whose ranking counts."""

DRAWS = 200
"""Of the weights, within their errors, for the stability."""


@dataclass(frozen=True)
class Fit:
    """The local model of every class.

    Attributes:
        weights: (classes, regions), how much showing a region raises the log-odds.
        intercepts: (classes,).
        covariances: (classes, regions, regions), of the weights' sampling errors.
        r2: (classes,), share of the weighted variance that the model explains.
        whole: (classes,), what the model predicts for the photograph itself.
    """

    weights: np.ndarray
    intercepts: np.ndarray
    covariances: np.ndarray
    r2: np.ndarray
    whole: np.ndarray

    def standard_errors(self, label: int) -> np.ndarray:
        """Of the weights of one class, (regions,)."""
        return np.sqrt(np.diagonal(self.covariances[label]).clip(0))

    def stability(self, label: int) -> float:
        """Expected Jaccard index of the strongest regions of two explanations with other masks, from 0 to 1.

        Both are drawn from the weights' sampling distribution, which is close to normal.
        """
        rng = np.random.default_rng(0)
        weights, covariance = self.weights[label], self.covariances[label]
        variances, directions = np.linalg.eigh(covariance)
        noise = rng.standard_normal((2, DRAWS, len(weights))) * np.sqrt(variances.clip(0))
        first, second = (_strongest(weights + n @ directions.T) for n in noise)
        return float(((first & second).sum(1) / np.maximum((first | second).sum(1), 1)).mean())


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Of probabilities, ``float64``. They add up where probabilities saturate, so that a linear model fits better."""
    p = np.clip(probabilities.astype(np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.log(p / (1 - p))


def fit(masks: np.ndarray, outcomes: np.ndarray, design_effect: float = 1.0) -> Fit:
    """Fit ``outcomes`` (N, classes) to ``masks`` (N, regions), whose rows 2k and 2k + 1 are opposites.

    The model is that of :class:`lime.lime_base.LimeBase`: ridge regression, weighted by an exponential kernel of the
    cosine distance to the photograph itself. Opposites share the mean of their two weights, else effects of pairs of
    regions, which cancel between them, would not quite. The covariances are the sandwich estimate, clustered by
    pairs (White, Econometrica 1980; Liang and Zeger, Biometrika 1986), times ``design_effect``: 1 for random pairs.
    """
    n, regions = masks.shape
    z = np.concatenate([np.ones((n, 1)), masks], axis=1).astype(np.float64)
    weight = shared_by_pairs(kernel(masks))
    penalty = np.diag([0.0] + [RIDGE] * regions)
    inverse = np.linalg.inv((z * weight[:, None]).T @ z + penalty)
    level = outcomes[0].astype(np.float64)
    changes = outcomes - level  # exactly nothing where nothing changes
    coefficients = inverse @ ((z * weight[:, None]).T @ changes)  # (1 + regions, classes)
    residuals = changes - z @ coefficients
    mean = weight @ changes / weight.sum()
    unexplained, total = weight @ residuals**2, weight @ (changes - mean) ** 2
    # Scores of pairs, (n / 2, classes, 1 + regions): an odd sample at the end is on its own.
    scores = (residuals * weight[:, None])[:, :, None] * z[:, None, :]
    scores = np.add.reduceat(scores, np.arange(0, n, 2), axis=0)
    correction = design_effect * n / max(n - regions - 1, 1)
    covariances = correction * np.einsum("pci,pcj->cij", scores, scores, optimize=True)
    covariances = (inverse @ covariances @ inverse)[:, 1:, 1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = np.where(total > 0, 1 - unexplained / total, 1.0)
    return Fit(coefficients[1:].T, coefficients[0] + level, covariances, r2, coefficients.sum(0) + level)


def kernel(masks: np.ndarray) -> np.ndarray:
    """The weights (N,) of samples: the square root of a Gaussian of one minus the cosine to the mask of ones."""
    distance = 1 - np.sqrt(masks.mean(axis=1))
    return np.sqrt(np.exp(-(distance**2) / KERNEL_WIDTH**2))


def shared_by_pairs(weight: np.ndarray) -> np.ndarray:
    """Each two of the weights (N,) replaced by their mean; an odd one at the end stays."""
    shared = weight.copy()
    even = len(weight) // 2 * 2
    shared[:even] = np.repeat(weight[:even].reshape(-1, 2).mean(axis=1), 2)
    return shared


def _strongest(weights: np.ndarray) -> np.ndarray:
    """Boolean (N, regions): the :data:`TOP` largest positive weights (N, regions) of each row."""
    count = min(TOP, weights.shape[1])
    threshold = np.partition(weights, -count, axis=1)[:, -count]
    return (weights >= threshold[:, None]) & (weights > 0)
