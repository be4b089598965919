"""Figures of a classifier, from its probabilities and the true labels.

Most take ``probabilities`` (N, C), ``labels`` (N,), and ``weights`` (..., N), how often each image counts: figures come
back with the same leading axes, one for each resample of a bootstrap. Without weights, each image counts once. A figure
that is not defined (a class without images) is NaN.
"""

from __future__ import annotations

import numpy as np

BINS = 15
"""Equal-width bins of confidence of :func:`reliability`."""


def accuracy(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    """Share of images whose most probable class is the true one."""
    return _mean(probabilities.argmax(1) == labels, weights)


def recalls(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Sensitivity of each class, shape (..., C)."""
    matrix = confusion(probabilities, labels, weights)
    return ratio(_diagonal(matrix), matrix.sum(-1))


def precisions(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of the answers of each class that are right, shape (..., C); NaN for a class that is never answered."""
    matrix = confusion(probabilities, labels, weights)
    return ratio(_diagonal(matrix), matrix.sum(-2))


def balanced_accuracy(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> float | np.ndarray:
    """Mean sensitivity over the classes that have images."""
    return _plain(mean_of_known(recalls(probabilities, labels, weights)))


def macro_f1(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    """Mean over the classes that have images of F1, the harmonic mean of sensitivity and precision."""
    matrix = confusion(probabilities, labels, weights)
    true, answered = matrix.sum(-1), matrix.sum(-2)
    f1 = np.where(true > 0, ratio(2 * _diagonal(matrix), true + answered), np.nan)
    return _plain(mean_of_known(f1))


def confusion(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Counts of shape (..., C, C): rows are true classes, columns predicted ones."""
    classes = probabilities.shape[1]
    cells = np.eye(classes * classes)[labels * classes + probabilities.argmax(1)]
    if weights is None:
        return cells.sum(0).astype(int).reshape(classes, classes)
    return (weights @ cells).reshape(*weights.shape[:-1], classes, classes)


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, bins: int = BINS
) -> float | np.ndarray:
    """Mean distance between confidence and accuracy over equal-width bins (Naeini et al., AAAI 2015)."""
    images, confidence, right = _in_bins(probabilities, labels, weights, bins)
    return _plain(ratio(abs(confidence - right).sum(-1), images.sum(-1)))


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> tuple[np.ndarray, ...]:
    """What :func:`expected_calibration_error` averages: images, mean confidence and accuracy, each of shape (bins,)."""
    images, confidence, right = _in_bins(probabilities, labels, None, bins)
    return images.astype(int), ratio(confidence, images), ratio(right, images)


def brier_score(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    """Mean squared distance to the truth, summed over the classes, 0–2 (Brier, Monthly Weather Review, 1950)."""
    truth = np.eye(probabilities.shape[1])[labels]
    return _mean(((probabilities.astype(float) - truth) ** 2).sum(1), weights)


def log_loss(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    """Mean of -ln of the true class's probability, which is taken as at least 1e-12."""
    of_truth = probabilities[np.arange(len(labels)), labels].astype(float)
    return _mean(-np.log(np.maximum(of_truth, 1e-12)), weights)


def rates(
    found: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float | np.ndarray, float | np.ndarray]:
    """``(sensitivity, specificity)`` of a decision: ``found`` (N,) and ``positive`` (N,) are booleans."""
    weights = np.ones(len(positive)) if weights is None else weights
    return _mean(found, weights * positive), _mean(~found, weights * ~positive)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, NaN where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(-1), known.sum(-1))


def _in_bins(probabilities, labels, weights, bins):
    """Sums by bin of confidence, (..., bins) each: images, confidence, right answers."""
    confidence = probabilities.max(1).astype(float)
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    member = np.eye(bins)[index]
    weights = np.ones(len(labels)) if weights is None else weights
    right = probabilities.argmax(1) == labels
    return weights @ member, weights @ (member * confidence[:, None]), weights @ (member * right[:, None])


def _mean(values, weights):
    weights = np.ones(len(values)) if weights is None else weights
    return _plain(ratio(weights @ values.astype(float), weights.sum(-1)))


def _diagonal(matrix):
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _plain(values):
    """A Python number where there is one figure: it is kept in checkpoints, which hold no numpy."""
    return float(values) if np.ndim(values) == 0 else values
