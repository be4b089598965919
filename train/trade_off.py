"""Fit every strength of the bias of rare classes to held-out answers: temperature and thresholds of each.

The answers are in one or several parts with equal weight, as in :mod:`train.calibrate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from api.classes import CLASSES, class_indices
from evaluate.bootstrap import Bootstrap, clusters_of
from evaluate.dataset import Example
from evaluate.trade_off import BiasPoint, TradeOff, best, figures
from handler.bias import BiasSetting
from handler.checkpoint import Checkpoint
from train.calibrate import STRENGTHS, fit_malignant_threshold, fit_plausible_threshold, fit_temperature, rarities

FACTORS = 3.0
"""Bound of the logarithm of the factor between two networks' logits."""

SAME_BIAS = 1e-3
"""Logits may differ by this much for a bias to count as the model's own."""


def fit_trade_off(
    checkpoint: Checkpoint,
    sha256: str,
    parts: Mapping[str, tuple[np.ndarray, Sequence[Example]]],
    answers: str,
    resamples: int,
    seed: int,
) -> TradeOff:
    """The curve of a model.

    Args:
        checkpoint: its own bias, temperature and thresholds are one point of the curve.
        sha256: first 12 digits of its file's.
        parts: by its name, each part's held-out answers: logits (N, classes) without bias and temperature, in the
            order of ``CLASSES``, and the images that they answer. The first part is HAM10000's.
        answers: what these are, in words.
        resamples: of the bootstrap over lesions.
        seed: of the bootstrap.
    """
    first, *others = [examples for _, examples in parts.values()]
    elsewhere = [example for examples in others for example in examples]
    answered = [(logits, np.array([e.label for e in examples])) for logits, examples in parts.values()]
    rarity = rarities(answered)
    bootstrap = Bootstrap(clusters_of([e.lesion for e in first]), resamples, seed)
    bootstrap_elsewhere = Bootstrap(clusters_of([e.lesion for e in elsewhere]), resamples, seed) if others else None
    own_bias = np.zeros(len(CLASSES))
    own_bias[class_indices(checkpoint.classes)] = checkpoint.bias
    own = own_strength(own_bias, rarity)
    points = []
    for strength in sorted({*STRENGTHS, own}):
        bias, temperature = own_bias, checkpoint.temperature
        malignant_threshold, plausible_threshold = checkpoint.malignant_threshold, checkpoint.plausible_threshold
        if strength != own:
            bias = strength * rarity
            temperature = fit_temperature([(logits + bias, labels) for logits, labels in answered])
        fitted = [
            (softmax((logits + bias) / temperature, axis=1).astype(np.float32), labels) for logits, labels in answered
        ]
        if strength != own:
            malignant_threshold = fit_malignant_threshold(fitted)
            plausible_threshold = fit_plausible_threshold(fitted)
        offsets = (bias - own_bias) / temperature
        setting = BiasSetting(
            strength=strength,
            exponent=checkpoint.temperature / temperature,
            offsets=dict(zip(CLASSES, offsets.tolist(), strict=True)),
            malignant_threshold=malignant_threshold,
            plausible_threshold=plausible_threshold,
        )
        probabilities, *probabilities_elsewhere = [part for part, _ in fitted]
        point = BiasPoint(setting, temperature, figures(probabilities, first, malignant_threshold, bootstrap))
        if bootstrap_elsewhere:
            pooled = np.concatenate(probabilities_elsewhere)
            pooled_figures = figures(pooled, elsewhere, malignant_threshold, bootstrap_elsewhere)
            point = msgspec.structs.replace(point, elsewhere=pooled_figures)
        points.append(point)
    images = len(first) + len(elsewhere)
    return TradeOff(sha256, answers, images, own, best(points).setting.strength, points)


def on_scale_of(checkpoint: Checkpoint, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Other networks' logits (N, classes), times the factor for which the checkpoint's bias and temperature fit them.

    Networks differ in how far apart their logits are. What is fitted to these serves the checkpoint, so they have to be
    on its scale.
    """
    bias = np.zeros(len(CLASSES))
    bias[class_indices(checkpoint.classes)] = checkpoint.bias

    def cross_entropy(log_factor: float) -> float:
        fitted = log_softmax((np.exp(log_factor) * logits + bias) / checkpoint.temperature, axis=1)
        return -float(fitted[np.arange(len(labels)), labels].mean())

    found = minimize_scalar(cross_entropy, bounds=(-FACTORS, FACTORS), method="bounded", options={"xatol": 1e-6})
    return np.exp(found.x) * logits


def own_strength(bias: np.ndarray, rarity: np.ndarray) -> float:
    """The multiple of ``rarity`` (classes,) nearest to ``bias`` (classes,), of :data:`STRENGTHS` if one is equal."""
    for strength in STRENGTHS:
        if np.abs(bias - strength * rarity).max() < SAME_BIAS:
            return strength
    return round(float(bias @ rarity / (rarity @ rarity)), 3)
