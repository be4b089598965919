"""Fit every strength of the bias of rare classes to held-out answers: temperature and thresholds of each.

The answers are in one or several parts with equal weight, as in :mod:`train.calibrate`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from api.arguments import ensure_writable_folder
from api.classes import CLASSES, class_indices
from evaluate.bootstrap import Bootstrap, clusters_of
from evaluate.dataset import DataError, Example, find_examples, load_squares
from evaluate.files import TRADE_OFF, write_json
from evaluate.held_out import held_out, split_sources_again
from evaluate.predictions import Predictions, model_of
from evaluate.sources import HAM10000, by_source, find_sources
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

FACTORS = 3.0
"""Bound of the logarithm of the factor between two networks' logits."""

SAME_BIAS = 1e-3
"""Logits may differ by this much for a bias to count as the model's own."""


def measure(arguments: argparse.Namespace) -> TradeOff:
    """Fit the curve as the command line says, and write it.

    Raises:
        UsageError: the output cannot be written.
        DataError: the folder or the answers are not as documented.
        CheckpointError: the checkpoint cannot be used.
    """
    ensure_writable_folder(arguments.output, "--output")
    checkpoint = Checkpoint.load(arguments.modelname)
    if arguments.answers:
        logits, examples = kept_logits(arguments.answers)
        logits = on_scale_of(checkpoint, logits, np.array([example.label for example in examples]))
        parts = {HAM10000: (logits, examples)}
        words = f"{len(arguments.answers)} folds, each by a network that was not trained on it"
    else:
        examples = held_out(find_examples(arguments.root, "train"), checkpoint)
        others = split_sources_again(find_sources(arguments.also).examples, examples, checkpoint)
        images = {HAM10000: examples} | by_source(others.validation)
        parts = {name: (logits_of(checkpoint, part), part) for name, part in images.items()}
        words = "validation images of this model"
        if len(parts) > 1:
            counts = ", ".join(f"{len(part)} of {name}" for name, part in images.items())
            words += f": {counts}, with equal weight of each source"
    measured = fit_trade_off(
        checkpoint, model_of(arguments.modelname)[1], parts, words, arguments.resamples, arguments.seed
    )
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
        point = BiasPoint(setting, temperature, bias_metrics(probabilities, first, malignant_threshold, bootstrap))
        if bootstrap_elsewhere:
            pooled = np.concatenate(probabilities_elsewhere)
            pooled_figures = bias_metrics(pooled, elsewhere, malignant_threshold, bootstrap_elsewhere)
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


def kept_logits(paths: list[Path]) -> tuple[np.ndarray, list[Example]]:
    """Logits (N, classes) up to a constant of each row, and the images, of files with uncalibrated probabilities.

    Raises:
        DataError: a file is not such a file, or two of them answer the same image.
    """
    parts = [Predictions.read(path) for path in paths]
    examples = [example for part in parts for example in part.examples]
    if len({example.path for example in examples}) < len(examples):
        raise DataError("--answers: two of the files answer the same image; give each fold once")
    probabilities = np.concatenate([part.probabilities for part in parts]).astype(float)
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)), examples


def logits_of(checkpoint: Checkpoint, examples: list[Example]) -> np.ndarray:
    """The network's logits (N, classes) in the order of ``CLASSES``, in float32."""
    squares = load_squares(examples, os.cpu_count() or 1, "decoding validation images")
    _, answers = predict(checkpoint.network().to(memory_format=torch.channels_last), squares, torch.device("cpu"))
    logits = np.full((len(squares), len(CLASSES)), -np.inf)
    logits[:, class_indices(checkpoint.classes)] = answers
    return logits
