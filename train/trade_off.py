"""Fit temperature and thresholds for every strength of the bias of rare classes, on held-out predictions.

The predictions are in one or several parts of equal weight, as in :mod:`train.calibrate`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.special import softmax

from api.arguments import ensure_writable_folder
from api.classes import CLASSES, class_indices
from evaluate.bootstrap import Bootstrap, clusters_of
from evaluate.dataset import Example, find_examples
from evaluate.files import TRADE_OFF, write_json
from evaluate.held_out import split_all_again
from evaluate.predictions import model_of
from evaluate.sources import find_sources
from evaluate.trade_off import BiasPoint, TradeOff, best, bias_metrics
from handler.model.calibration import BiasSetting
from handler.model.checkpoint import Checkpoint
from train.calibrate import (
    STRENGTHS,
    fit_malignant_threshold,
    fit_plausible_threshold,
    fit_temperature,
    predict,
    rarities,
)
from train.validation import load_parts

SAME_BIAS = 1e-3
"""Logits may differ by this much for a bias to count as the model's own."""


def measure(arguments: argparse.Namespace) -> TradeOff:
    """Run the command: fit the curve, and write it.

    Raises:
        UsageError: the output cannot be written.
        DataError: the folder is not as documented, or the model was trained on other images.
        CheckpointError: the checkpoint cannot be used.
    """
    ensure_writable_folder(arguments.output, "--output")
    checkpoint = Checkpoint.load(arguments.modelname)
    examples, others = find_examples(arguments.root, "train"), find_sources(arguments.also).examples
    _, held_out = split_all_again(examples, others, checkpoint)
    squares = load_parts(held_out)
    parts = {name: (logits_of(checkpoint, squares[name][0]), part) for name, part in held_out.items()}
    answers = "validation images of this model"
    if len(parts) > 1:
        counts = ", ".join(f"{len(part)} of {name}" for name, part in held_out.items())
        answers += f": {counts}, with equal weight of each source"
    sha256 = model_of(arguments.modelname)[1]
    measured = fit_trade_off(checkpoint, sha256, parts, answers, arguments.resamples, arguments.seed)
    write_json(measured, arguments.output / TRADE_OFF)
    return measured


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
        sha256: first 12 digits of the checkpoint file's.
        parts: by its name, each part's logits (N, classes) without bias and temperature, in the order of ``CLASSES``,
            and their images. The first part is HAM10000's.
        answers: describes the parts.
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
        is_own = strength == own
        bias = own_bias if is_own else strength * rarity
        biased = [(logits + bias, labels) for logits, labels in answered]
        temperature = checkpoint.temperature if is_own else fit_temperature(biased)
        fitted = [(softmax(logits / temperature, axis=1).astype(np.float32), labels) for logits, labels in biased]
        setting = BiasSetting(
            strength=strength,
            exponent=checkpoint.temperature / temperature,
            offsets=dict(zip(CLASSES, ((bias - own_bias) / temperature).tolist(), strict=True)),
            malignant_threshold=checkpoint.malignant_threshold if is_own else fit_malignant_threshold(fitted),
            plausible_threshold=checkpoint.plausible_threshold if is_own else fit_plausible_threshold(fitted),
        )
        probabilities, *probabilities_elsewhere = [part for part, _ in fitted]
        threshold = setting.malignant_threshold
        points.append(
            BiasPoint(
                setting,
                temperature,
                held_out=bias_metrics(probabilities, first, threshold, bootstrap),
                elsewhere=bias_metrics(
                    np.concatenate(probabilities_elsewhere), elsewhere, threshold, bootstrap_elsewhere
                )
                if bootstrap_elsewhere
                else None,
            )
        )
    images = len(first) + len(elsewhere)
    return TradeOff(sha256, answers, images, own, best(points).setting.strength, points)


def own_strength(bias: np.ndarray, rarity: np.ndarray) -> float:
    """The multiple of ``rarity`` (classes,) nearest to ``bias`` (classes,); a member of :data:`STRENGTHS` if equal."""
    for strength in STRENGTHS:
        if np.abs(bias - strength * rarity).max() < SAME_BIAS:
            return strength
    return round(float(bias @ rarity / (rarity @ rarity)), 3)


def logits_of(checkpoint: Checkpoint, squares: np.ndarray) -> np.ndarray:
    """The network's logits (N, classes) in the order of ``CLASSES``, in float32, for ``uint8`` squares (N, S, S, 3)."""
    logits = np.full((len(squares), len(CLASSES)), -np.inf)
    logits[:, class_indices(checkpoint.classes)] = predict(checkpoint.network(), squares, torch.device("cpu"))[1]
    return logits
