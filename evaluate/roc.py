"""The receiver operating characteristic: how well a score ranks positive images above the others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evaluate.metrics import mean_of_known, ratio


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
    """The curve of ``scores`` (N,) for the truth ``positive`` (N,), with ``weights`` as in :mod:`evaluate.metrics`."""
    weights = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_equals = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))

    def above(members: np.ndarray) -> np.ndarray:
        counts = np.cumsum((weights * members)[..., order], axis=-1)[..., last_of_equals]
        return np.concatenate([np.zeros((*counts.shape[:-1], 1)), counts], axis=-1)

    found, alarms = above(positive), above(~positive)
    return Roc(
        np.append(np.inf, ranked[last_of_equals]),
        ratio(found, found[..., -1:]),
        1 - ratio(alarms, alarms[..., -1:]),
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
    return mean_of_known(aurocs(probabilities, labels, weights))


class Point(NamedTuple):
    """An operating point; each field has shape (...)."""

    threshold: np.ndarray
    sensitivity: np.ndarray
    specificity: np.ndarray


def at_specificity(curve: Roc, least: float) -> Point:
    """The point of highest sensitivity with a specificity of at least ``least``."""
    return _point(curve, (curve.specificity >= least - 1e-9).sum(-1) - 1)  # 1 - 0.1 is a little less than 0.9


def at_sensitivity(curve: Roc, least: float) -> Point:
    """The point of highest specificity with a sensitivity of at least ``least``."""
    return _point(curve, (curve.sensitivity >= least - 1e-9).argmax(-1))


def _point(curve: Roc, index: np.ndarray) -> Point:
    index = np.maximum(index, 0)
    sensitivity, specificity = (np.take_along_axis(y, index[..., None], -1)[..., 0] for y in curve[1:])
    known = ~np.isnan(sensitivity + specificity)
    return Point(curve.thresholds[index], *(np.where(known, y, np.nan) for y in (sensitivity, specificity)))
