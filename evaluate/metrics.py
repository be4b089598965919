"""Figures of a classifier, from its probabilities and the true labels.

Most functions take ``probabilities`` (N, C), ``labels`` (N,), and ``weights`` (..., N), how often each image counts.
Their results have the leading axes of the weights, one figure for each resample of a bootstrap. Without weights, each
image counts once. A figure that is not defined (of a class without images) is NaN.
"""

from __future__ import annotations

import numpy as np

Scalars = float | np.ndarray
"""A Python number without weights, else an array with the leading axes of the weights."""

BINS = 15
"""Equal-width bins of confidence in :func:`reliability`."""


def accuracy(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Scalars:
    """Share of images whose most probable class is the true one."""
    return _mean(probabilities.argmax(1) == labels, weights)


def recalls(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Sensitivity of each class, shape (..., C)."""
    matrix = confusion(probabilities, labels, weights)
    return ratio(_diagonal(matrix), matrix.sum(-1))


def precisions(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Precision of each class, shape (..., C); NaN for a class that is never answered."""
    matrix = confusion(probabilities, labels, weights)
    return ratio(_diagonal(matrix), matrix.sum(-2))


def balanced_accuracy(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Scalars:
    """Mean sensitivity over the classes that have images."""
    return _plain(mean_of_known(recalls(probabilities, labels, weights)))


def macro_f1(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Scalars:
    """F1, the harmonic mean of sensitivity and precision, averaged over the classes that have images."""
    matrix = confusion(probabilities, labels, weights)
    support, answered = matrix.sum(-1), matrix.sum(-2)
    f1 = np.where(support > 0, ratio(2 * _diagonal(matrix), support + answered), np.nan)
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
) -> Scalars:
    """Mean gap between confidence and accuracy over equal-width bins (Naeini et al., AAAI 2015)."""
    images, confidence, right = _in_bins(probabilities, labels, weights, bins)
    return _plain(ratio(abs(confidence - right).sum(-1), images.sum(-1)))


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> tuple[np.ndarray, ...]:
    """Number of images, mean confidence and accuracy of each bin, shape (bins,) each."""
    images, confidence, right = _in_bins(probabilities, labels, None, bins)
    return images.astype(int), ratio(confidence, images), ratio(right, images)


def brier_score(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Scalars:
    """Squared error summed over the classes, 0 to 2, averaged over images (Brier, Monthly Weather Review, 1950)."""
    truth = np.eye(probabilities.shape[1])[labels]
    return _mean(((probabilities.astype(float) - truth) ** 2).sum(1), weights)


def log_loss(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Scalars:
    """Mean negative log-likelihood of the true class, whose probability is clipped to at least 1e-12."""
    of_truth = probabilities[np.arange(len(labels)), labels].astype(float)
    return _mean(-np.log(np.maximum(of_truth, 1e-12)), weights)


def rates(called: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None) -> tuple[Scalars, Scalars]:
    """``(sensitivity, specificity)`` of the decision ``called`` for the truth ``positive``, both boolean (N,)."""
    weights = np.ones(len(positive)) if weights is None else weights
    return _mean(called, weights * positive), _mean(~called, weights * ~positive)


def coverage(sets: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Scalars:
    """Share of images whose set, a row of ``sets``, boolean (N, C), holds the true class."""
    return _mean(_covered(sets, labels), weights)


def coverages(sets: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """:func:`coverage` of the images of each class, shape (..., C)."""
    return _means_by_class(_covered(sets, labels), labels, sets.shape[1], weights)


def set_size(sets: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Scalars:
    """Mean number of classes in an image's set."""
    return _mean(sets.sum(1), weights)


def set_sizes(sets: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """:func:`set_size` of the images of each class, shape (..., C)."""
    return _means_by_class(sets.sum(1), labels, sets.shape[1], weights)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, NaN where ``whole`` is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, ignoring NaN; NaN where everything is NaN."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(-1), known.sum(-1))


def _in_bins(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums over the images in each bin of confidence, (..., bins) each: images, confidence, right answers."""
    confidence = probabilities.max(1).astype(float)
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    member = np.eye(bins)[index]
    weights = np.ones(len(labels)) if weights is None else weights
    right = probabilities.argmax(1) == labels
    return weights @ member, weights @ (member * confidence[:, None]), weights @ (member * right[:, None])


def _mean(values: np.ndarray, weights: np.ndarray | None) -> Scalars:
    weights = np.ones(len(values)) if weights is None else weights
    return _plain(ratio(weights @ values.astype(float), weights.sum(-1)))


def _means_by_class(values: np.ndarray, labels: np.ndarray, classes: int, weights: np.ndarray | None) -> np.ndarray:
    member = np.eye(classes)[labels]
    weights = np.ones(len(labels)) if weights is None else weights
    return ratio(weights @ (member * values[:, None]), weights @ member)


def _covered(sets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return sets[np.arange(len(labels)), labels]


def _diagonal(matrix: np.ndarray) -> np.ndarray:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _plain(values: np.ndarray) -> Scalars:
    """A Python number for a single figure: checkpoints store figures and hold no numpy."""
    return float(values) if np.ndim(values) == 0 else values
