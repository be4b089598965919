"""Post-processing of probabilities: another bias of rare classes, and the set of plausible diagnoses.

The bias can be moved along its trade-off curve without retraining. A checkpoint adds a bias b to its logits z and
divides by a temperature T: p = softmax((z + b) / T). Another bias b' with the temperature T' that was fitted for it
gives p' = softmax((z + b') / T'), which can be computed from p alone: it is proportional to
p ** (T / T') * exp((b' - b) / T'). Novelty scores do not depend on the bias.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec
import numpy as np

BIAS_VARIABLE = "MLBIO_BIAS_STRENGTH"
"""Environment variable that chooses another bias than the model's own."""

COVERAGE = 0.90
"""Target share of photographs whose plausible diagnoses include the true one."""


class BiasError(ValueError):
    """The requested bias is not on the model's trade-off curve. The message lists the available ones."""


class FlagRates(msgspec.Struct, frozen=True):
    """How often the malignant flag is raised on the test set: for malignant photographs, and for others."""

    sensitivity: float
    false_alarm_rate: float


class BiasSetting(msgspec.Struct, frozen=True):
    """A point of the trade-off curve, with the parameters that were fitted to held-out images.

    Attributes:
        strength: multiple of the logarithm of a class's rarity that is added to its logit.
        exponent: T / T' (see the module's docstring).
        offsets: (b' - b) / T', by class (``dx`` code).
        malignant_threshold: see :class:`handler.model.checkpoint.Checkpoint`.
        flag: rates at the malignant threshold; None if not measured.
        plausible_threshold: see :class:`handler.model.checkpoint.Checkpoint`.
    """

    strength: float
    exponent: float
    offsets: dict[str, float]
    malignant_threshold: float | None
    flag: FlagRates | None = None
    plausible_threshold: float | None = None

    def apply(self, probabilities: np.ndarray, classes: Sequence[str]) -> np.ndarray:
        """Convert probabilities (N, C), with columns ``classes``, from the model's own bias to this one; float32."""
        logs = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
        logs = logs * self.exponent + [self.offsets[dx] for dx in classes]
        shares = np.exp(logs - logs.max(axis=1, keepdims=True))
        return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def chosen_bias(curve: Sequence[BiasSetting]) -> BiasSetting | None:
    """The point of ``curve`` that the environment's ``MLBIO_BIAS_STRENGTH`` names; None if it is not set.

    Raises:
        BiasError: there is no such point.
    """
    text = os.environ.get(BIAS_VARIABLE, "")
    if not text:
        return None
    if not curve:
        raise BiasError(f"{BIAS_VARIABLE} is set, and this model has no trade-off curve: unset it")
    for setting in curve:
        try:
            if abs(float(text) - setting.strength) < 1e-9:
                return setting
        except ValueError:
            break
    strengths = ", ".join(f"{setting.strength:g}" for setting in curve)
    raise BiasError(f"{BIAS_VARIABLE} is {text!r}: it must be one of {strengths}, or not set")


def plausible(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Membership of each class in the photograph's prediction set, boolean: the diagnoses that cannot be excluded.

    Split conformal prediction: a set holds the classes whose probability reaches the threshold (least ambiguous
    set-valued classifiers: Sadinle, Lei and Wasserman, JASA 2019), and always the most probable one.

    Args:
        probabilities: (..., classes), the shape of the result.
        threshold: fitted by :func:`train.calibrate.fit_plausible_threshold`.
    """
    # numpy would round the threshold to float32 for the comparison.
    exact = probabilities.astype(np.float64)
    return (exact >= threshold) | (exact == exact.max(axis=-1, keepdims=True))
