"""Comparison of two models, by their predictions for the same images or by their score cards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from msgspec import Struct

from api.classes import MELANOMA, class_indices
from evaluate import metrics
from evaluate.bootstrap import Bootstrap, Estimate, clusters_of
from evaluate.dataset import DataError, Example
from evaluate.predictions import Predictions
from evaluate.score_card import ScoreCard

HIGHER_IS_BETTER = ("accuracy", "balanced_accuracy", "macro_auroc")
LOWER_IS_BETTER = ("expected_calibration_error",)


class Difference(Struct, frozen=True):
    """A metric of both models.

    Attributes:
        name: of the metric.
        change: from the first to the second, with the interval of the paired difference.
    """

    name: str
    first: Estimate
    second: Estimate
    change: Estimate


class PairedPredictions(Struct, frozen=True):
    """Both models' probabilities (N, classes) of the same images."""

    examples: list[Example]
    first: np.ndarray
    second: np.ndarray


def melanomas_found(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of the melanomas whose most probable class is melanoma; arguments as in :mod:`evaluate.metrics`."""
    (melanoma,) = class_indices([MELANOMA])
    return metrics.recalls(probabilities, labels, weights)[..., melanoma]


COMPARED: dict[str, Callable] = {
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
    "macro_auroc": metrics.macro_auroc,
    "log_loss": metrics.log_loss,
    "expected_calibration_error": metrics.expected_calibration_error,
    "melanomas_found": melanomas_found,
}


def pair_predictions(first: Sequence[Predictions], second: Sequence[Predictions]) -> PairedPredictions:
    """Match the predictions of two models by image: the k-th files of both must have the same images, in any order.

    Images may occur in several files, for example under different shifts.

    Raises:
        DataError: the numbers of files differ, or a file has other images or other labels.
    """
    if len(first) != len(second):
        raise DataError(f"{len(first)} files of predictions and {len(second)} to compare with: give as many of each")
    examples: list[Example] = []
    columns: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for number, (one, other) in enumerate(zip(first, second, strict=True), 1):
        row = {(example.path.name, example.label): i for i, example in enumerate(other.examples)}
        keys = [(example.path.name, example.label) for example in one.examples]
        if len(row) != len(other.examples) or len(set(keys)) != len(keys):
            raise DataError(f"files number {number}: one of them has an image twice")
        if set(row) != set(keys):
            raise DataError(f"files number {number} have different images, or label them differently")
        examples += one.examples
        columns[0].append(one.probabilities)
        columns[1].append(other.probabilities[[row[key] for key in keys]])
    return PairedPredictions(examples, *(np.concatenate(column) for column in columns))


def compare(pair: PairedPredictions, resamples: int, seed: int) -> list[Difference]:
    """Compare both models in the metrics of :data:`COMPARED`. Both have the same resamples, of whole lesions."""
    labels = np.array([example.label for example in pair.examples])
    bootstrap = Bootstrap(clusters_of([example.lesion for example in pair.examples]), resamples, seed)

    def change(metric: Callable, weights: np.ndarray) -> np.ndarray:
        return metric(pair.second, labels, weights) - metric(pair.first, labels, weights)

    return [
        Difference(
            name,
            first=bootstrap.estimate(partial(metric, pair.first, labels)),
            second=bootstrap.estimate(partial(metric, pair.second, labels)),
            change=bootstrap.estimate(partial(change, metric)),
        )
        for name, metric in COMPARED.items()
    ]


def regressions(new: ScoreCard, served: ScoreCard) -> list[str]:
    """A line for each metric of the new model that is worse than the interval of the served model's.

    Differences within the interval may be due to chance and do not prevent a promotion.
    """
    if (new.images, new.lesions) != (served.images, served.lesions):
        return [
            f"its score card is of {new.images} images ({new.lesions} lesions) and that of the served model of "
            f"{served.images} ({served.lesions}): make both of the same images"
        ]
    found = []
    for name in HIGHER_IS_BETTER + LOWER_IS_BETTER:
        ours: Estimate = getattr(new.metrics, name)
        theirs: Estimate = getattr(served.metrics, name)
        limit, relation = (theirs.low, "below") if name in HIGHER_IS_BETTER else (theirs.high, "above")
        if ours.value is None or theirs.value is None or limit is None:
            continue
        if ours.value < limit if name in HIGHER_IS_BETTER else ours.value > limit:
            found.append(
                f"{name.replace('_', ' ')} {ours.value:.3f} is {relation} {limit:.3f}, the end of the interval of the "
                f"served model's {theirs.value:.3f}"
            )
    return found
