"""Two models' answers to the same images, side by side, with intervals of the paired differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from msgspec import Struct

from api.classes import MELANOMA, class_indices
from evaluate import metrics
from evaluate.bootstrap import Bootstrap, clusters_of
from evaluate.dataset import DataError, Example
from evaluate.figures import Figure, figure_of
from evaluate.predictions import Predictions
from evaluate.score_card import METRICS


class Difference(Struct, frozen=True):
    """A figure of both models.

    Attributes:
        name: of the figure.
        change: from the first to the second, with the interval of the paired difference.
    """

    name: str
    first: Figure
    second: Figure
    change: Figure


class Answers(Struct, frozen=True):
    """Both models' probabilities (N, classes) of the same images."""

    examples: list[Example]
    first: np.ndarray
    second: np.ndarray


def melanomas_found(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of the melanomas whose most probable class is melanoma; arguments as in :mod:`evaluate.metrics`."""
    (melanoma,) = class_indices([MELANOMA])
    return metrics.recalls(probabilities, labels, weights)[..., melanoma]


FIGURES: dict[str, Callable] = {
    name: METRICS[name]
    for name in ("accuracy", "balanced_accuracy", "macro_auroc", "log_loss", "expected_calibration_error")
} | {"melanomas_found": melanomas_found}


def paired(first: Sequence[Predictions], second: Sequence[Predictions]) -> Answers:
    """The answers of two models, file by file: each file of ``second`` answers the images of the same of ``first``.

    Images may come in any order, and again in another file, as of other shifts.

    Raises:
        DataError: there are not as many files, or a file answers other images or has other labels.
    """
    if len(first) != len(second):
        raise DataError(f"{len(first)} files of answers and {len(second)} to compare with: give as many of each")
    examples: list[Example] = []
    columns: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for number, (one, other) in enumerate(zip(first, second, strict=True), 1):
        row = {(example.path.name, example.label): i for i, example in enumerate(other.examples)}
        keys = [(example.path.name, example.label) for example in one.examples]
        if len(row) != len(other.examples) or len(set(keys)) != len(keys):
            raise DataError(f"files number {number}: one of them answers an image twice")
        if set(row) != set(keys):
            raise DataError(f"files number {number} answer different images, or label them differently")
        examples += one.examples
        columns[0].append(one.probabilities)
        columns[1].append(other.probabilities[[row[key] for key in keys]])
    return Answers(examples, *(np.concatenate(column) for column in columns))


def compare(answers: Answers, resamples: int, seed: int) -> list[Difference]:
    """Each of :data:`FIGURES` of both models. Whole lesions are resampled, the same ones for both."""
    labels = np.array([example.label for example in answers.examples])
    bootstrap = Bootstrap(clusters_of([example.lesion for example in answers.examples]), resamples, seed)

    def change(metric: Callable, weights: np.ndarray) -> np.ndarray:
        return metric(answers.second, labels, weights) - metric(answers.first, labels, weights)

    def difference(name: str, metric: Callable) -> Difference:
        functions = partial(metric, answers.first, labels), partial(metric, answers.second, labels)
        estimates = [bootstrap.estimate(function) for function in (*functions, partial(change, metric))]
        return Difference(name, *(figure_of(estimate) for estimate in estimates))

    return [difference(name, metric) for name, metric in FIGURES.items()]
