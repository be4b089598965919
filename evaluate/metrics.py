"""Metrics of a classifier, from its probabilities and the true labels.

Most functions take ``probabilities`` (N, C), ``labels`` (N,), and image weights ``weights`` (..., N), 1 by default.
Their results have the leading axes of the weights: one value for each resample of a bootstrap. Undefined values (of
classes without images) are NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from handler.explain.lime.surrogate import log_odds

Scalars = float | np.ndarray
"""A Python number without weights, else an array with the leading axes of the weights."""

BINS = 15
"""Equal-width bins of confidence in :func:`reliability`."""


def accuracy(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Scalars:
    """Share of images whose most probable class is the true one."""
    return mean(probabilities.argmax(1) == labels, weights)


def recalls(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Sensitivity of each class, shape (..., C)."""
    matrix = confusion(probabilities, labels, weights)
    return ratio(_diagonal(matrix), matrix.sum(-1))


def ppvs(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Positive predictive value of each class, shape (..., C); NaN for a class that is never predicted."""
    matrix = confusion(probabilities, labels, weights)
    return ratio(_diagonal(matrix), matrix.sum(-2))


def balanced_accuracy(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Scalars:
    """Mean sensitivity over the classes that have images."""
    return _plain(nanmean(recalls(probabilities, labels, weights)))


def macro_f1(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Scalars:
    """Harmonic mean of sensitivity and positive predictive value, averaged over the classes that have images."""
    matrix = confusion(probabilities, labels, weights)
    support, predicted = matrix.sum(-1), matrix.sum(-2)
    f1 = np.where(support > 0, ratio(2 * _diagonal(matrix), support + predicted), np.nan)
    return _plain(nanmean(f1))


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
    images, confidence, correct = _in_bins(probabilities, labels, weights, bins)
    return _plain(ratio(abs(confidence - correct).sum(-1), images.sum(-1)))


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> tuple[np.ndarray, ...]:
    """Number of images, mean confidence and accuracy of each bin, shape (bins,) each."""
    images, confidence, correct = _in_bins(probabilities, labels, None, bins)
    return images.astype(int), ratio(confidence, images), ratio(correct, images)


def brier_score(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Scalars:
    """Squared error summed over the classes, 0 to 2, averaged over images (Brier, Monthly Weather Review, 1950)."""
    truth = np.eye(probabilities.shape[1])[labels]
    return mean(((probabilities.astype(float) - truth) ** 2).sum(1), weights)


def log_loss(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Scalars:
    """Mean negative log-likelihood of the true class, whose probability is clipped to at least 1e-12."""
    of_truth = probabilities[np.arange(len(labels)), labels].astype(float)
    return mean(-np.log(np.maximum(of_truth, 1e-12)), weights)


def rates(called: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Sensitivity and specificity, (..., 2), of the predictions ``called`` for the truth ``positive``, boolean (N,)."""
    weights = np.ones(len(positive)) if weights is None else weights
    return np.stack([mean(called, weights * positive), mean(~called, weights * ~positive)], -1)


def mean(values: np.ndarray, weights: np.ndarray | None = None) -> Scalars:
    """Mean of ``values`` (N,), one of each image."""
    weights = np.ones(len(values)) if weights is None else weights
    return _plain(ratio(weights @ values.astype(float), weights.sum(-1)))


def class_means(values: np.ndarray, labels: np.ndarray, classes: int, weights: np.ndarray | None = None) -> np.ndarray:
    """:func:`mean` over the images of each class, shape (..., classes)."""
    member = np.eye(classes)[labels]
    weights = np.ones(len(labels)) if weights is None else weights
    return ratio(weights @ (member * values[:, None]), weights @ member)


def agreement(probabilities: np.ndarray, reference: np.ndarray) -> float:
    """Share of the rows of (N, C) with the same most probable class."""
    return float(np.mean(probabilities.argmax(1) == reference.argmax(1)))


def log_odds_rmse(probabilities: np.ndarray, reference: np.ndarray) -> float:
    """Root mean square difference of the log-odds, clipped as for explanations."""
    return float(np.sqrt(np.mean((log_odds(probabilities) - log_odds(reference)) ** 2)))


class Roc(NamedTuple):
    """A point for every threshold T, at which the images with a score of at least T are called positive.

    Attributes:
        thresholds: (T,), descending; at the first, infinity, nothing is called positive.
        sensitivity: (..., T), rising from 0 to 1; NaN without positive images.
        specificity: (..., T), falling from 1 to 0; NaN without other images.
    """

    thresholds: np.ndarray
    sensitivity: np.ndarray
    specificity: np.ndarray


def roc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None) -> Roc:
    """The curve of ``scores`` (N,) for the truth ``positive``, boolean (N,)."""
    weights = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_equals = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))

    def above(members: np.ndarray) -> np.ndarray:
        counts = np.cumsum((weights * members)[..., order], axis=-1)[..., last_of_equals]
        return np.concatenate([np.zeros((*counts.shape[:-1], 1)), counts], axis=-1)

    true_positives, false_positives = above(positive), above(~positive)
    return Roc(
        np.append(np.inf, ranked[last_of_equals]),
        ratio(true_positives, true_positives[..., -1:]),
        1 - ratio(false_positives, false_positives[..., -1:]),
    )


def area(curve: Roc) -> np.ndarray:
    """AUROC, shape (...): the probability that a positive image scores above another one, ties counting half.

    This is the Mann-Whitney statistic (Hanley and McNeil, Radiology 143, 1982).
    """
    height = (curve.sensitivity[..., 1:] + curve.sensitivity[..., :-1]) / 2
    return (height * -np.diff(curve.specificity, axis=-1)).sum(-1)


def aurocs(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """AUROC of each class against the rest, (..., C)."""
    classes = range(probabilities.shape[1])
    return np.stack([area(roc(probabilities[:, c], labels == c, weights)) for c in classes], axis=-1)


def macro_auroc(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean of :func:`aurocs` over the classes for which it is defined, shape (...)."""
    return nanmean(aurocs(probabilities, labels, weights))


class Point(NamedTuple):
    """An operating point: a threshold, shape (...), and the sensitivity and specificity that it gives, (..., 2)."""

    threshold: np.ndarray
    rates: np.ndarray


def at_specificity(curve: Roc, minimum: float) -> Point:
    """The point of highest sensitivity with a specificity of at least ``minimum``."""
    return _point(curve, (curve.specificity >= minimum - 1e-9).sum(-1) - 1)  # 1 - 0.1 is a little less than 0.9


def at_sensitivity(curve: Roc, minimum: float) -> Point:
    """The point of highest specificity with a sensitivity of at least ``minimum``."""
    return _point(curve, (curve.sensitivity >= minimum - 1e-9).argmax(-1))


def _point(curve: Roc, index: np.ndarray) -> Point:
    index = np.maximum(index, 0)
    at_index = np.stack([np.take_along_axis(y, index[..., None], -1)[..., 0] for y in curve[1:]], -1)
    undefined = np.isnan(at_index).any(-1, keepdims=True)
    return Point(curve.thresholds[index], np.where(undefined, np.nan, at_index))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, NaN where ``whole`` is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)


def nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, ignoring NaN; NaN where everything is NaN."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(-1), known.sum(-1))


def _in_bins(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums over the images in each bin of confidence, (..., bins) each: images, confidence, correct predictions."""
    confidence = probabilities.max(1).astype(float)
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    member = np.eye(bins)[index]
    weights = np.ones(len(labels)) if weights is None else weights
    correct = probabilities.argmax(1) == labels
    return weights @ member, weights @ (member * confidence[:, None]), weights @ (member * correct[:, None])


def _diagonal(matrix: np.ndarray) -> np.ndarray:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _plain(values: np.ndarray) -> Scalars:
    """Convert single values to Python numbers, because checkpoints cannot store numpy's."""
    return float(values) if np.ndim(values) == 0 else values
