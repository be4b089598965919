"""What is fitted after training, on images held out: how sure to be, when to worry, and when not to answer."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from handler.classifier import Checkpoint, Normalise, Novelty, middle_and_logits
from handler.contract import CLASSES, MALIGNANT
from handler.quantise import activation_ranges, fold_batch_norm
from train.metrics import accuracy, balanced_accuracy

SENSITIVITY = 0.95
"""Share of malignant validation images that the malignant flag must raise."""

FAMILIAR = 0.98
"""Share of validation images that must not look novel."""

TILTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
"""How far :func:`fit_bias` may go; at 1 all classes would count as equally frequent."""

RANGED, RANGED_TOGETHER = 256, 8
"""Training images, and how many of them at a time, that the ranges of the 8-bit network are taken from."""

SHRINKAGE = 0.1
"""Share of the mean variance that is added to each direction's, so that none that hardly varies decides alone."""


def complete(
    checkpoint: Checkpoint,
    train_squares: np.ndarray,
    validation_squares: np.ndarray,
    labels: np.ndarray,
    device: torch.device,
    dtype: torch.dtype | None,
) -> np.ndarray:
    """Fit everything that serving needs beside the weights, into ``checkpoint``.

    ``train_squares`` (M, 224, 224, 3) are images that the network learned from, ``validation_squares``
    (N, 224, 224, 3) and ``labels`` (N,) others; ``dtype`` is autocast's, None for float32. Returned are the
    calibrated probabilities (N, classes) of the validation images.
    """
    network = checkpoint.network().to(device, memory_format=torch.channels_last)
    known, _ = predict(network, train_squares, device, dtype)
    middle, logits = predict(network, validation_squares, device, dtype)
    checkpoint.bias = fit_bias(logits, labels)
    probabilities = calibrate(checkpoint, logits, labels)
    checkpoint.malignant_threshold = fit_malignant_threshold(probabilities, labels)
    checkpoint.novelty = fit_novelty(known, middle)
    normalise = Normalise()
    some = torch.from_numpy(train_squares[:RANGED]).permute(0, 3, 1, 2).float().split(RANGED_TOGETHER)
    checkpoint.ranges = activation_ranges(fold_batch_norm(checkpoint.network()), (normalise(b) for b in some))
    return probabilities


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


def calibrate(checkpoint: Checkpoint, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Fit ``checkpoint``'s temperature to its bias and these logits; the probabilities (N, C) that follow."""
    checkpoint.temperature = fit_temperature(logits + checkpoint.bias, labels)
    return softmax((logits + checkpoint.bias) / checkpoint.temperature)


def fit_bias(logits: np.ndarray, labels: np.ndarray) -> list[float]:
    """What is added to the logits (N, C) so that rare classes are not passed over.

    The bias is in proportion to the logarithm of how rare a class is among ``labels`` (logit adjustment: Menon et al.,
    ICLR 2021). Of :data:`TILTS` the one of most :func:`worth` is taken: a larger one would find yet more of the rare
    classes, at the price of many a common one.
    """
    counts = np.bincount(labels, minlength=logits.shape[1])
    rarity = np.log(counts.sum() / np.maximum(counts, 1))
    # The first, and so the smallest, where several are as good.
    best = max(TILTS, key=lambda tilt: worth(logits + tilt * rarity, labels))
    return [float(b) for b in best * rarity]


def worth(logits: np.ndarray, labels: np.ndarray) -> float:
    """What epochs and biases are chosen by: the mean of accuracy and balanced accuracy.

    Balanced accuracy alone would be decided by the few images of the rarest classes; accuracy alone by the nevi.
    """
    return (accuracy(logits, labels) + balanced_accuracy(logits, labels)) / 2


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
