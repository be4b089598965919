"""The same model in faster arithmetic, compared with float32 on the same images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec import Struct

from evaluate import metrics
from evaluate.kept import read_json, write_json
from evaluate.roc import macro_auroc
from handler.explain.lime.surrogate import log_odds

DECIMALS = 4


class ArithmeticFigures(Struct, frozen=True):
    """Figures of one arithmetic.

    Attributes:
        name: float32, bfloat16 (answers where the CPU has it) or int8 (LIME's perturbations).
        macro_auroc: None if all images have the same class.
        agreement: share of the images with the same most probable class as in float32.
        largest_difference: of any probability from float32.
        log_odds_rmse: root mean square difference of the log-odds from float32, clipped as for explanations.
    """

    name: str
    accuracy: float
    balanced_accuracy: float
    macro_auroc: float | None
    expected_calibration_error: float
    agreement: float
    largest_difference: float
    log_odds_rmse: float


def compare(name: str, probabilities: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> ArithmeticFigures:
    """Figures of ``probabilities`` (N, classes) beside those in float32, ``reference``, for ``labels`` (N,)."""
    differences = probabilities.astype(np.float64) - reference
    figures = {
        "accuracy": metrics.accuracy(probabilities, labels),
        "balanced_accuracy": metrics.balanced_accuracy(probabilities, labels),
        "expected_calibration_error": metrics.expected_calibration_error(probabilities, labels),
        "agreement": agreement(probabilities, reference),
        "largest_difference": np.abs(differences).max(),
        "log_odds_rmse": log_odds_rmse(probabilities, reference),
    }
    auroc = float(macro_auroc(probabilities, labels))
    return ArithmeticFigures(
        name=name,
        macro_auroc=None if np.isnan(auroc) else round(auroc, DECIMALS),
        **{key: round(float(value), DECIMALS) for key, value in figures.items()},
    )


def agreement(probabilities: np.ndarray, reference: np.ndarray) -> float:
    """Share of the rows of (N, classes) with the same most probable class."""
    return float(np.mean(probabilities.argmax(1) == reference.argmax(1)))


def log_odds_rmse(probabilities: np.ndarray, reference: np.ndarray) -> float:
    """Root mean square difference of the log-odds, clipped as for explanations."""
    return float(np.sqrt(np.mean((log_odds(probabilities) - log_odds(reference)) ** 2)))


def write(figures: list[ArithmeticFigures], path: Path) -> None:
    """Keep the figures beside the kept answers, which are in float32 only."""
    write_json(figures, path)


def read(path: Path) -> list[ArithmeticFigures]:
    """What :func:`write` wrote; nothing if there is no such file.

    Raises:
        DataError: the file holds something else.
    """
    return read_json(path, list[ArithmeticFigures], "figures of arithmetics") or []
