"""The trade-off between accuracy and balanced accuracy that the bias of rare classes makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from api.classes import CLASSES, MALIGNANT, class_indices
from evaluate import metrics
from evaluate.bootstrap import Bootstrap, clusters_of
from evaluate.dataset import Example
from evaluate.figures import Figure, figure_of
from evaluate.kept import read_json, write_json
from handler.model.bias import BiasSetting

LEAST_ACCURACY = 0.80
"""That :func:`best_index` keeps."""


class BiasFigures(Struct, frozen=True):
    """One strength of the bias on one set of images.

    Attributes:
        flag_sensitivity: share of the malignant images whose summed probability reaches the setting's threshold.
        flag_specificity: share of the others that stay below it.
    """

    accuracy: Figure
    balanced_accuracy: Figure
    expected_calibration_error: Figure
    flag_sensitivity: Figure
    flag_specificity: Figure


class BiasPoint(Struct, frozen=True):
    """A point of the curve.

    Attributes:
        setting: what gives these figures in serving.
        temperature: fitted for it on the held-out images.
        held_out: figures on the images of HAM10000 that it was fitted to.
        evaluated: figures on the images of the score card; None before they are known.
        elsewhere: figures on the images of other sources that it was fitted to; None if there are none.
    """

    setting: BiasSetting
    temperature: float
    held_out: BiasFigures
    evaluated: BiasFigures | None = None
    elsewhere: BiasFigures | None = None


class TradeOff(Struct, frozen=True):
    """The curve.

    Attributes:
        sha256: first 12 digits of the checkpoint's that the settings are for.
        answers: what the held-out answers are, in words.
        images: how many there are.
        own: strength of the checkpoint's own bias.
        best: strength of the point that :func:`best` finds.
        points: by rising strength.
    """

    sha256: str
    answers: str
    images: int
    own: float
    best: float
    points: list[BiasPoint]


def figures(
    probabilities: np.ndarray,
    examples: Sequence[Example],
    threshold: float | None,
    bootstrap: Bootstrap,
) -> BiasFigures:
    """Figures of ``probabilities`` (N, classes), in the order of ``CLASSES``, with a malignant ``threshold``."""
    labels = np.array([e.label for e in examples])
    malignant = class_indices(MALIGNANT)
    called = probabilities[:, malignant].sum(1).astype(float) >= (np.inf if threshold is None else threshold)
    rates = bootstrap.estimate(lambda weights: np.stack(metrics.rates(called, np.isin(labels, malignant), weights), -1))

    def of_set(metric: Callable) -> Figure:
        return figure_of(bootstrap.estimate(partial(metric, probabilities, labels)))

    return BiasFigures(
        of_set(metrics.accuracy),
        of_set(metrics.balanced_accuracy),
        of_set(metrics.expected_calibration_error),
        figure_of(rates, 0),
        figure_of(rates, 1),
    )


def evaluate(
    trade_off: TradeOff, probabilities: np.ndarray, examples: Sequence[Example], resamples: int, seed: int
) -> TradeOff:
    """The curve with figures of other images, given the model's own ``probabilities`` (N, classes) of them."""
    bootstrap = Bootstrap(clusters_of([e.lesion for e in examples]), resamples, seed)
    points = []
    for point in trade_off.points:
        moved = point.setting.apply(probabilities, list(CLASSES))
        evaluated = figures(moved, examples, point.setting.malignant_threshold, bootstrap)
        points.append(msgspec.structs.replace(point, evaluated=evaluated))
    return msgspec.structs.replace(trade_off, points=points)


def best(points: Sequence[BiasPoint]) -> BiasPoint:
    """The one of :func:`best_index` on held-out images; the weakest bias of equals.

    As in :func:`train.calibrate.fit_bias`, the accuracy is HAM10000's, and the balanced accuracy is the mean of that on
    HAM10000's images and that on the images of other sources.
    """

    def balanced(point: BiasPoint) -> float:
        known = [figures.balanced_accuracy.value or 0.0 for figures in (point.held_out, point.elsewhere) if figures]
        return sum(known) / len(known)

    return points[best_index([point.held_out.accuracy.value or 0.0 for point in points], [*map(balanced, points)])]


def best_index(accuracies: Sequence[float], balanced_accuracies: Sequence[float]) -> int:
    """Where balanced accuracy is highest while accuracy is at least :data:`LEAST_ACCURACY`; the first of equals.

    If no accuracy is, where the mean of both is highest.
    """
    accurate = [i for i, accuracy in enumerate(accuracies) if accuracy >= LEAST_ACCURACY]
    if accurate:
        return max(accurate, key=lambda i: balanced_accuracies[i])
    return max(range(len(accuracies)), key=lambda i: accuracies[i] + balanced_accuracies[i])


def write(trade_off: TradeOff, path: Path) -> None:
    """Keep the curve beside the score card, without the figures of the card's own images."""
    points = [msgspec.structs.replace(p, evaluated=None) for p in trade_off.points]
    write_json(msgspec.structs.replace(trade_off, points=points), path)


def read(path: Path, sha256: str) -> TradeOff | None:
    """What :func:`write` wrote for the model with this digest; None if there is no such file, or of another model.

    Raises:
        DataError: the file holds something else.
    """
    trade_off = read_json(path, TradeOff, "a trade-off curve")
    return trade_off if trade_off and trade_off.sha256 == sha256 else None
