"""How much of a model's accuracy survives the shifts of :mod:`evaluate.shifts`, on the same images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from msgspec import Struct
from tqdm import tqdm

from api.photograph import ImageError, open_photograph
from evaluate import metrics
from evaluate.bootstrap import Bootstrap, clusters_of
from evaluate.dataset import DataError, Example
from evaluate.figures import Figure, figure_of
from evaluate.kept import read_json, write_json
from evaluate.shifts import UNCHANGED, Shift
from handler.model.images import network_square

BATCH = 32

MEAN = "mean of all changes"
"""Name of the row that has the mean of the others but :data:`evaluate.shifts.UNCHANGED`."""

Answer = Callable[[np.ndarray], np.ndarray]
"""``uint8`` squares (N, 224, 224, 3) in, probabilities (N, classes) in the order of ``CLASSES`` out."""


class ShiftFigures(Struct, frozen=True):
    """A set of images under one shift.

    Attributes:
        shift: its name in :data:`evaluate.shifts.SHIFTS`, or :data:`MEAN`.
        accuracy_change: difference from the unchanged images, with the interval of the paired difference.
        balanced_accuracy_change: likewise.
        agreement: share of the images whose most probable class stays the same.
    """

    shift: str
    accuracy: Figure
    balanced_accuracy: Figure
    accuracy_change: Figure
    balanced_accuracy_change: Figure
    agreement: Figure


class Robustness(Struct, frozen=True):
    """A model under every shift.

    Attributes:
        sha256: first 12 digits of the checkpoint's.
        arithmetic: that the network was computed in.
        images: of each set, by its name.
        sets: figures of each set, by its name.
    """

    sha256: str
    arithmetic: str
    images: dict[str, int]
    sets: dict[str, list[ShiftFigures]]


def answers_under(
    shifts: Mapping[str, Shift], examples: Sequence[Example], answer: Answer, description: str
) -> dict[str, np.ndarray]:
    """Probabilities (N, classes) of ``examples`` under each shift; an image is decoded once.

    Raises:
        DataError: an image cannot be read.
    """

    def squares_of(example: Example) -> np.ndarray:
        try:
            photograph = open_photograph(example.path.read_bytes())
        except (ImageError, OSError) as error:
            raise DataError(f"{example.path}: {error}") from None
        return np.stack([network_square(shift(photograph)) for shift in shifts.values()])

    def batches() -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in tqdm(range(0, len(examples), BATCH), desc=description, leave=False, disable=None):
                yield np.stack(list(pool.map(squares_of, examples[start : start + BATCH])), 1)

    parts: dict[str, list[np.ndarray]] = {name: [] for name in shifts}
    for batch in batches():
        for name, squares in zip(shifts, batch, strict=True):
            parts[name].append(answer(np.ascontiguousarray(squares)))
    return {name: np.concatenate(part) for name, part in parts.items()}


def compare(
    answers: Mapping[str, np.ndarray], examples: Sequence[Example], resamples: int, seed: int
) -> list[ShiftFigures]:
    """Figures of each shift's ``answers`` beside those of :data:`evaluate.shifts.UNCHANGED`, which is among them.

    The last row, :data:`MEAN`, is the mean of all shifts. Whole lesions are resampled, the same ones with and without
    the shift.
    """
    labels = np.array([e.label for e in examples])
    bootstrap = Bootstrap(clusters_of([e.lesion for e in examples]), resamples, seed)
    plain = answers[UNCHANGED]

    def figures(name: str, of_shifts: Sequence[np.ndarray]) -> ShiftFigures:
        def mean(metric: Callable, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
            return np.mean([metric(shifted, truth, weights) for shifted in of_shifts], axis=0)

        def change(metric: Callable, weights: np.ndarray) -> np.ndarray:
            return mean(metric, labels, weights) - metric(plain, labels, weights)

        functions: dict[str, Callable] = {
            "accuracy": partial(mean, metrics.accuracy, labels),
            "balanced_accuracy": partial(mean, metrics.balanced_accuracy, labels),
            "accuracy_change": partial(change, metrics.accuracy),
            "balanced_accuracy_change": partial(change, metrics.balanced_accuracy),
            "agreement": partial(mean, metrics.accuracy, plain.argmax(1)),
        }
        return ShiftFigures(name, **{key: figure_of(bootstrap.estimate(f)) for key, f in functions.items()})

    changed = [shifted for name, shifted in answers.items() if name != UNCHANGED]
    return [*(figures(name, [shifted]) for name, shifted in answers.items()), figures(MEAN, changed)]


def write(robustness: Robustness, path: Path) -> None:
    """Keep the table beside the score card."""
    write_json(robustness, path)


def read(path: Path, sha256: str) -> Robustness | None:
    """What :func:`write` wrote of the model with this digest; None if there is no such file, or of another model.

    Raises:
        DataError: the file holds something else.
    """
    robustness = read_json(path, Robustness, "figures of shifts")
    return robustness if robustness and robustness.sha256 == sha256 else None
