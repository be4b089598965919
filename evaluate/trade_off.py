"""The trade-off between accuracy and balanced accuracy, controlled by the bias of rare classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
import numpy as np
from msgspec import Struct

from api.classes import CLASSES, MALIGNANT, class_indices
from evaluate import metrics
from evaluate.bootstrap import Bootstrap, Estimate, clusters_of
from evaluate.dataset import Example
from evaluate.predictions import malignant_scores
from handler.model.calibration import BiasSetting

MIN_ACCURACY = 0.80
"""Constraint of :func:`best_index`."""


class BiasMetrics(Struct, frozen=True):
    """One strength of the bias on one set of images.

    Attributes:
        flag_sensitivity: share of the malignant images whose summed probability reaches the setting's threshold.
        flag_specificity: share of the others that stay below it.
    """

    accuracy: Estimate
    balanced_accuracy: Estimate
    expected_calibration_error: Estimate
    flag_sensitivity: Estimate
    flag_specificity: Estimate


class BiasPoint(Struct, frozen=True):
    """A point of the curve.

    Attributes:
        setting: the parameters for serving.
        temperature: fitted to the held-out images.
        held_out: metrics on HAM10000's held-out images.
        evaluated: metrics on the images of the score card; None until it is computed.
        elsewhere: metrics on the held-out images of other sources; None if there are none.
    """

    setting: BiasSetting
    temperature: float
    held_out: BiasMetrics
    evaluated: BiasMetrics | None = None
    elsewhere: BiasMetrics | None = None


class TradeOff(Struct, frozen=True):
    """The curve.

    Attributes:
        sha256: first 12 digits of the checkpoint's SHA-256.
        answers: describes the held-out predictions.
        images: number of held-out predictions.
        own: strength of the checkpoint's own bias.
        best: strength of the point that :func:`best` selects.
        points: in ascending order of strength.
    """

    sha256: str
    answers: str
    images: int
    own: float
    best: float
    points: list[BiasPoint]


def bias_metrics(
    probabilities: np.ndarray, examples: Sequence[Example], threshold: float | None, bootstrap: Bootstrap
) -> BiasMetrics:
    """Metrics of ``probabilities`` (N, classes), in the order of ``CLASSES``, with a malignant ``threshold``."""
    labels = np.array([e.label for e in examples])
    malignant = np.isin(labels, class_indices(MALIGNANT))
    flagged = malignant_scores(probabilities) >= (np.inf if threshold is None else threshold)
    rates = bootstrap.estimates(partial(metrics.rates, flagged, malignant))
    return BiasMetrics(
        bootstrap.estimate(partial(metrics.accuracy, probabilities, labels)),
        bootstrap.estimate(partial(metrics.balanced_accuracy, probabilities, labels)),
        bootstrap.estimate(partial(metrics.expected_calibration_error, probabilities, labels)),
        flag_sensitivity=rates.at(0),
        flag_specificity=rates.at(1),
    )


def evaluate(
    trade_off: TradeOff, probabilities: np.ndarray, examples: Sequence[Example], resamples: int, seed: int
) -> TradeOff:
    """The curve with metrics of other images, given the model's own ``probabilities`` (N, classes) of them."""
    bootstrap = Bootstrap(clusters_of([e.lesion for e in examples]), resamples, seed)
    points = []
    for point in trade_off.points:
        with_bias = point.setting.apply(probabilities, list(CLASSES))
        evaluated = bias_metrics(with_bias, examples, point.setting.malignant_threshold, bootstrap)
        points.append(msgspec.structs.replace(point, evaluated=evaluated))
    return msgspec.structs.replace(trade_off, points=points)


def best(points: Sequence[BiasPoint]) -> BiasPoint:
    """The point that :func:`best_index` selects on held-out images; of equal points, the one with the weakest bias.

    As in :func:`train.calibrate.fit_bias`, the accuracy is HAM10000's, and the balanced accuracy is the mean of that on
    HAM10000's images and that on the images of other sources.
    """

    def balanced(point: BiasPoint) -> float:
        values = [part.balanced_accuracy.value or 0.0 for part in (point.held_out, point.elsewhere) if part]
        return sum(values) / len(values)

    return points[best_index([point.held_out.accuracy.value or 0.0 for point in points], [*map(balanced, points)])]


def best_index(accuracies: Sequence[float], balanced_accuracies: Sequence[float]) -> int:
    """The index of the highest balanced accuracy with an accuracy of at least :data:`MIN_ACCURACY`; the first of ties.

    If no accuracy is high enough, the index of the highest mean of both.
    """
    accurate = [i for i, accuracy in enumerate(accuracies) if accuracy >= MIN_ACCURACY]
    if accurate:
        return max(accurate, key=lambda i: balanced_accuracies[i])
    return max(range(len(accuracies)), key=lambda i: accuracies[i] + balanced_accuracies[i])
