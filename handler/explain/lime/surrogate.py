"""LIME's local model: weighted regression of the classes' log-odds on the masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KERNEL_WIDTH = 0.25
"""The lime package's default for images."""

RIDGE = 1e-6
"""Ridge penalty: just large enough for fits with fewer masks than regions.

The lime package's default of 1 would shrink weights from 128 masks by 6 %, and designed masks do not need it.
"""

MIN_PROBABILITY = 1e-4
"""Probabilities are clipped to this and its complement, so that log-odds stay finite."""

TOP_K = 5
"""How many of the strongest regions the stability compares."""

MONTE_CARLO_DRAWS = 200
"""Pairs of weight vectors drawn to estimate the stability."""


@dataclass(frozen=True)
class Fit:
    """The local model of every class.

    Attributes:
        weights: (classes, regions), the increase of the log-odds when a region is shown.
        intercepts: (classes,).
        covariances: (classes, regions, regions), of the weights' sampling errors.
        r2: (classes,), weighted coefficient of determination.
        whole: (classes,), log-odds predicted for the whole photograph.
    """

    weights: np.ndarray
    intercepts: np.ndarray
    covariances: np.ndarray
    r2: np.ndarray
    whole: np.ndarray

    def standard_errors(self, label: int) -> np.ndarray:
        """Standard errors of one class's weights, (regions,)."""
        return np.sqrt(np.diagonal(self.covariances[label]).clip(0))

    def stability(self, label: int) -> float:
        """Expected Jaccard index, 0 to 1, of the :data:`TOP_K` strongest regions of two independent explanations.

        A Monte Carlo estimate: the weights of both are drawn from their sampling distribution, taken as normal.
        """
        rng = np.random.default_rng(0)
        weights, covariance = self.weights[label], self.covariances[label]
        variances, directions = np.linalg.eigh(covariance)
        noise = rng.standard_normal((2, MONTE_CARLO_DRAWS, len(weights))) * np.sqrt(variances.clip(0))
        first, second = (_strongest(weights + n @ directions.T) for n in noise)
        return float(((first & second).sum(1) / np.maximum((first | second).sum(1), 1)).mean())


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Log-odds of ``probabilities``, ``float64`` of the same shape.

    Effects of regions add up in log-odds where probabilities saturate, so that a linear model fits better.
    """
    p = np.clip(probabilities.astype(np.float64), MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return np.log(p / (1 - p))


def fit(masks: np.ndarray, outcomes: np.ndarray, design_effect: float | np.ndarray = 1.0) -> Fit:
    """Regress ``outcomes`` (N, classes) on boolean ``masks`` (N, regions), whose rows 2k and 2k + 1 are complements.

    Except for the penalty (:data:`RIDGE`), the model is that of :class:`lime.lime_base.LimeBase`: linear regression
    whose sample weights are an exponential kernel of the cosine distance to the unperturbed photograph. Complements
    share the mean of their weights, so that interactions of two regions cancel exactly. The covariances are the
    sandwich estimate clustered by pairs (White, Econometrica 1980; Liang and Zeger, Biometrika 1986).
    ``design_effect`` is the variance of the weights, one for all or (regions,), relative to that from random pairs
    (Kish, "Survey Sampling", 1965).
    """
    n, regions = masks.shape
    z = np.concatenate([np.ones((n, 1)), masks], axis=1).astype(np.float64)
    weight = average_over_pairs(kernel(masks))
    penalty = np.diag([0.0] + [RIDGE] * regions)
    inverse = np.linalg.inv((z * weight[:, None]).T @ z + penalty)
    level = outcomes[0].astype(np.float64)
    changes = outcomes - level  # exactly zero where the outcome never changes
    coefficients = inverse @ ((z * weight[:, None]).T @ changes)  # (1 + regions, classes)
    residuals = changes - z @ coefficients
    mean = weight @ changes / weight.sum()
    unexplained, total = weight @ residuals**2, weight @ (changes - mean) ** 2
    # Summed scores of each pair, (n / 2, classes, 1 + regions); an odd sample at the end is its own cluster.
    scores = (residuals * weight[:, None])[:, :, None] * z[:, None, :]
    scores = np.add.reduceat(scores, np.arange(0, n, 2), axis=0)
    pairs = len(scores)
    correction = pairs / max(pairs - regions, 1)  # a pair is one observation of the weights
    covariances = correction * np.einsum("pci,pcj->cij", scores, scores, optimize=True)
    scale = np.sqrt(np.broadcast_to(design_effect, regions))
    covariances = (inverse @ covariances @ inverse)[:, 1:, 1:] * np.outer(scale, scale)
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = np.where(total > 0, 1 - unexplained / total, 1.0)
    return Fit(coefficients[1:].T, coefficients[0] + level, covariances, r2, coefficients.sum(0) + level)


def kernel(masks: np.ndarray) -> np.ndarray:
    """Sample weights (N,): the square root of a Gaussian of the cosine distance to the mask of ones, as in lime."""
    distance = 1 - np.sqrt(masks.mean(axis=1))
    return np.sqrt(np.exp(-(distance**2) / KERNEL_WIDTH**2))


def average_over_pairs(weight: np.ndarray) -> np.ndarray:
    """Sample weights (N,) with each pair 2k, 2k + 1 replaced by its mean; an odd one at the end stays."""
    averaged = weight.copy()
    even = len(weight) // 2 * 2
    averaged[:even] = np.repeat(weight[:even].reshape(-1, 2).mean(axis=1), 2)
    return averaged


def _strongest(weights: np.ndarray) -> np.ndarray:
    """Boolean (N, regions): the :data:`TOP_K` largest of each row of ``weights`` (N, regions), if positive."""
    count = min(TOP_K, weights.shape[1])
    threshold = np.partition(weights, -count, axis=1)[:, -count]
    return (weights >= threshold[:, None]) & (weights > 0)
