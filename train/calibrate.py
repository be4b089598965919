"""What is fitted after training, on images held out: how sure to be, when to worry, and when not to answer."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from handler.classifier import Checkpoint, Normalise, Novelty, middle_and_logits
from handler.contract import CLASSES, MALIGNANT

SENSITIVITY = 0.95
"""Share of malignant validation images that the malignant flag must raise."""

FAMILIAR = 0.98
"""Share of validation images that must not look novel."""

SHRINKAGE = 0.1
"""Share of the mean variance that is added to each direction's, so that none that hardly varies decides alone."""


def complete(
    checkpoint: Checkpoint,
    train_squares: np.ndarray,
    validation_squares: np.ndarray,
    labels: np.ndarray,
    device: torch.device,
    dtype: torch.dtype | None,
) -> Checkpoint:
    """Fit everything that serving needs beside the weights, into ``checkpoint``.

    ``train_squares`` (M, 224, 224, 3) are images that the network learned from, ``validation_squares``
    (N, 224, 224, 3) and ``labels`` (N,) others; ``dtype`` is autocast's, None for float32.
    """
    network = checkpoint.network().to(device, memory_format=torch.channels_last)
    known, _ = predict(network, train_squares, device, dtype)
    middle, logits = predict(network, validation_squares, device, dtype)
    checkpoint.temperature = fit_temperature(logits, labels)
    probabilities = softmax(logits / checkpoint.temperature)
    checkpoint.malignant_threshold = fit_malignant_threshold(probabilities, labels)
    checkpoint.novelty = fit_novelty(known, middle)
    return checkpoint


@torch.inference_mode()
def predict(
    network: nn.Module, squares: np.ndarray, device: torch.device, dtype: torch.dtype | None
) -> tuple[np.ndarray, np.ndarray]:
    """Middle features (N, 256) and logits (N, classes) for ``uint8`` squares (N, S, S, 3)."""
    middle, logits, normalise = [], [], Normalise().to(device)
    for start in range(0, len(squares), 64):
        pixels = torch.from_numpy(squares[start : start + 64]).permute(0, 3, 1, 2).to(device).float()
        pixels = normalise(pixels).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            features, outputs = middle_and_logits(network, pixels)
        middle.append(features.float().cpu().numpy())
        logits.append(outputs.float().cpu().numpy())
    return np.concatenate(middle), np.concatenate(logits)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of least cross-entropy (Guo et al., ICML 2017), found by golden-section search in its log."""

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits / math.exp(log_temperature))
        return float(-np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean())

    low, high, golden = math.log(0.2), math.log(5.0), (math.sqrt(5) - 1) / 2
    for _ in range(40):
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return math.exp((low + high) / 2)


def fit_malignant_threshold(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The largest threshold of the malignant sum that :data:`SENSITIVITY` of the malignant images reach."""
    malignant = [list(CLASSES).index(c) for c in MALIGNANT]
    sums = np.sort(probabilities[:, malignant].sum(1)[np.isin(labels, malignant)])
    return float(sums[math.floor((1 - SENSITIVITY) * len(sums) + 1e-9)])


def fit_novelty(known: np.ndarray, validation: np.ndarray) -> Novelty:
    """Distance to the training images' distribution (Mahalanobis, after Lee et al., NeurIPS 2018).

    One Gaussian for all classes, on features (M, D) from the middle of the network: what is no skin differs there,
    while the last layer has learned to forget everything but the seven classes. The limit comes from ``validation``
    (N, D); no picture of anything else is needed.
    """
    mean = known.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov((known - mean).T))
    whiten = directions / np.sqrt(variances + SHRINKAGE * variances.mean())
    novelty = Novelty(torch.from_numpy(mean).float(), torch.from_numpy(whiten).float(), limit=1.0)
    novelty.limit = float(np.quantile(novelty(torch.from_numpy(validation).float()).numpy(), FAMILIAR))
    return novelty


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, C) of logits (N, C)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
