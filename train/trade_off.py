"""Fit every strength of the bias of rare classes to held-out answers: temperature and thresholds of each."""

from __future__ import annotations

from collections.abc import Sequence

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
    logits: np.ndarray,
    examples: Sequence[Example],
    answers: str,
    resamples: int,
    seed: int,
) -> TradeOff:
    """The curve of a model.

    Args:
        checkpoint: its own bias, temperature and thresholds are one point of the curve.
        sha256: first 12 digits of its file's.
        logits: held-out answers (N, classes) without bias and temperature, in the order of ``CLASSES``.
        examples: the images that they answer.
        answers: what these are, in words.
        resamples: of the bootstrap over lesions.
        seed: of the bootstrap.
    """
    labels = np.array([e.label for e in examples])
    rarity = rarities(labels)
    bootstrap = Bootstrap(clusters_of([e.lesion for e in examples]), resamples, seed)
    own_bias = np.zeros(len(CLASSES))
    own_bias[class_indices(checkpoint.classes)] = checkpoint.bias
    own = own_strength(own_bias, rarity)
    points = []
    for strength in sorted({*STRENGTHS, own}):
        bias, temperature = own_bias, checkpoint.temperature
        malignant_threshold, plausible_threshold = checkpoint.malignant_threshold, checkpoint.plausible_threshold
        if strength != own:
            bias = strength * rarity
            temperature = fit_temperature(logits + bias, labels)
        probabilities = softmax((logits + bias) / temperature, axis=1).astype(np.float32)
        if strength != own:
            malignant_threshold = fit_malignant_threshold(probabilities, labels)
            plausible_threshold = fit_plausible_threshold([(probabilities, labels)])
        offsets = (bias - own_bias) / temperature
        setting = BiasSetting(
            strength=strength,
            exponent=checkpoint.temperature / temperature,
            offsets=dict(zip(CLASSES, offsets.tolist(), strict=True)),
            malignant_threshold=malignant_threshold,
            plausible_threshold=plausible_threshold,
        )
        held_out = figures(probabilities, examples, malignant_threshold, bootstrap)
        points.append(BiasPoint(setting, temperature, held_out))
    return TradeOff(sha256, answers, len(examples), own, best(points).setting.strength, points)


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
