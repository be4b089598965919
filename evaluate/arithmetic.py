"""The same model in faster arithmetic, compared with float32 on the same images."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct

from evaluate import metrics
from handler.explain.lime.surrogate import log_odds

DECIMALS = 4


class ArithmeticMetrics(Struct, frozen=True):
    """Metrics of one arithmetic.

    Attributes:
        name: float32, bfloat16 (predictions where the CPU has it) or int8 (LIME's perturbations).
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


def compare(name: str, probabilities: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> ArithmeticMetrics:
    """``probabilities`` (N, classes) compared with those in float32, ``reference``, for ``labels`` (N,)."""
    differences = probabilities.astype(np.float64) - reference
    values: dict[str, Any] = {
        "accuracy": metrics.accuracy(probabilities, labels),
        "balanced_accuracy": metrics.balanced_accuracy(probabilities, labels),
        "macro_auroc": metrics.macro_auroc(probabilities, labels),
        "expected_calibration_error": metrics.expected_calibration_error(probabilities, labels),
        "agreement": agreement(probabilities, reference),
        "largest_difference": np.abs(differences).max(),
        "log_odds_rmse": log_odds_rmse(probabilities, reference),
    }
    values = {key: None if np.isnan(value) else round(float(value), DECIMALS) for key, value in values.items()}
    return ArithmeticMetrics(name, **values)


def agreement(probabilities: np.ndarray, reference: np.ndarray) -> float:
    """Share of the rows of (N, classes) with the same most probable class."""
    return float(np.mean(probabilities.argmax(1) == reference.argmax(1)))


def log_odds_rmse(probabilities: np.ndarray, reference: np.ndarray) -> float:
    """Root mean square difference of the log-odds, clipped as for explanations."""
    return float(np.sqrt(np.mean((log_odds(probabilities) - log_odds(reference)) ** 2)))
