"""Calibration on held-out images after training: bias, temperature, thresholds and novelty.

The held-out images are in parts, one for each source, HAM10000's first. All parts have the same weight, regardless of
their numbers of images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from api.classes import MALIGNANT, class_indices
from evaluate.metrics import accuracy, balanced_accuracy
from evaluate.trade_off import best_index
from handler.engines.quantise import activation_ranges, rounding_errors
from handler.model.calibration import COVERAGE
from handler.model.checkpoint import Checkpoint
from handler.model.inference import Novelty
from handler.model.network import Network, Normalise
from train.hardware import autocast

SENSITIVITY = 0.95
"""Target share of malignant validation images that reach the malignant threshold."""

FAMILIAR_SHARE = 0.98
"""Share of validation images whose novelty stays below its limit."""

STRENGTHS = tuple(tenth / 10 for tenth in range(11))
"""Candidate strengths of the bias of rare classes; 1 treats all classes as equally frequent."""

TEMPERATURES = (0.2, 5.0)
"""Range of :func:`fit_temperature`."""

QUANTISATION_IMAGES, QUANTISATION_BATCH = 256, 8
"""Number of training images for the 8-bit network's ranges and biases, and their batch size."""

SHRINKAGE = 0.1
"""Share of the mean variance that is added to each variance, so that no nearly constant feature dominates."""

PREDICTION_BATCH = 64

Part = tuple[np.ndarray, np.ndarray]
"""A part of the held-out images: squares, logits (N, C) or probabilities (N, C); and labels (N,)."""


def fit_all(
    checkpoint: Checkpoint, train_squares: np.ndarray, held_out: Sequence[Part], device: torch.device
) -> list[Part]:
    """Fit everything that serving needs in addition to the weights, and store it in ``checkpoint``.

    The network runs in float32, as serving does, so that thresholds mean the same there.

    Args:
        checkpoint: the trained weights.
        train_squares: images that the network was trained on, ``uint8`` (M, 224, 224, 3).
        held_out: ``uint8`` squares (N, 224, 224, 3) and labels (N,) of each part.
        device: where to compute.

    Returns:
        Calibrated probabilities and labels of each part.
    """
    network = checkpoint.network()
    train_features, _ = predict(network, train_squares, device)
    features, logits = zip(*(predict(network, squares, device) for squares, _ in held_out), strict=True)
    parts = [(part, labels) for part, (_, labels) in zip(logits, held_out, strict=True)]
    checkpoint.bias = fit_bias(parts)
    probabilities = calibrate(checkpoint, parts)
    checkpoint.malignant_threshold = fit_malignant_threshold(probabilities)
    checkpoint.plausible_threshold = fit_plausible_threshold(probabilities)
    checkpoint.novelty = fit_novelty(train_features, features)
    fit_quantisation(checkpoint, train_squares)
    return probabilities


def fit_quantisation(checkpoint: Checkpoint, squares: np.ndarray) -> None:
    """Store ranges and rounding errors in ``checkpoint``, from a regular sample of ``squares``."""
    folded, normalise = checkpoint.network().fold_batch_norm(), Normalise()
    evenly = squares[:: max(len(squares) // QUANTISATION_IMAGES, 1)][:QUANTISATION_IMAGES]
    pixels = torch.from_numpy(np.ascontiguousarray(evenly)).permute(0, 3, 1, 2).float()
    batches = [normalise(batch) for batch in pixels.split(QUANTISATION_BATCH)]
    checkpoint.ranges = activation_ranges(folded, batches)
    checkpoint.rounding_errors = rounding_errors(folded, checkpoint.ranges, normalise.mean, normalise.std, batches)


def predict(
    network: Network, squares: np.ndarray, device: torch.device, mixed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Intermediate features (N, D) and logits (N, classes) for ``uint8`` squares (N, S, S, 3).

    ``network`` is moved to ``device``. ``mixed`` allows bf16: faster, but accurate to only about two digits.
    """
    network = network.to(device).to(memory_format=torch.channels_last)
    all_features, all_logits, normalise = [], [], Normalise().to(device)
    for start in range(0, len(squares), PREDICTION_BATCH):
        batch = torch.from_numpy(squares[start : start + PREDICTION_BATCH])
        with torch.inference_mode():
            pixels = normalise(batch.permute(0, 3, 1, 2).to(device).float())
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            with autocast(device, enabled=mixed):
                features, logits = network.features_and_logits(pixels)
        all_features.append(features.float().cpu().numpy())
        all_logits.append(logits.float().cpu().numpy())
    return np.concatenate(all_features), np.concatenate(all_logits)


def calibrate(checkpoint: Checkpoint, parts: Sequence[Part]) -> list[Part]:
    """Fit ``checkpoint.temperature`` to the logits of ``parts`` plus its bias; returns the calibrated probabilities."""
    biased = [(logits + checkpoint.bias, labels) for logits, labels in parts]
    checkpoint.temperature = fit_temperature(biased)
    return [(softmax(logits / checkpoint.temperature, axis=1), labels) for logits, labels in biased]


def fit_bias(parts: Sequence[Part]) -> list[float]:
    """A bias for each column of the logits of ``parts`` that raises rare classes.

    It is proportional to the logarithm of a class's rarity (logit adjustment: Menon et al., ICLR 2021). Its strength is
    the one of :data:`STRENGTHS` that :func:`evaluate.trade_off.best_index` selects by the accuracy on the first part
    and the mean balanced accuracy of all.
    """
    rarity = rarities(parts)
    biased = [[(logits + strength * rarity, labels) for logits, labels in parts] for strength in STRENGTHS]
    accuracies = [float(accuracy(*first)) for first, *_ in biased]
    best = best_index(accuracies, [_mean(balanced_accuracy, strength) for strength in biased])
    return [float(b) for b in STRENGTHS[best] * rarity]


def rarities(parts: Sequence[Part]) -> np.ndarray:
    """The logarithm of each class's rarity, shape (C,): that of its mean share among the labels of ``parts``."""
    classes = parts[0][0].shape[1]
    counts = [np.maximum(np.bincount(labels, minlength=classes), 1) / max(len(labels), 1) for _, labels in parts]
    return -np.log(np.mean(counts, axis=0))


def selection_score(parts: Sequence[Part]) -> float:
    """The score that selects epochs and averages, from the logits of ``parts`` with the bias of :func:`fit_bias`.

    It is the mean balanced accuracy of several parts. For a single part, it is the mean of accuracy and balanced
    accuracy: the latter depends on the few images of the rarest classes, the former on the nevi.
    """
    bias = fit_bias(parts)
    biased = [(logits + bias, labels) for logits, labels in parts]
    balanced = _mean(balanced_accuracy, biased)
    return balanced if len(parts) > 1 else (balanced + _mean(accuracy, biased)) / 2


def fit_temperature(parts: Sequence[Part]) -> float:
    """The temperature in :data:`TEMPERATURES` that minimises the cross-entropy (Guo et al., ICML 2017)."""

    def cross_entropy(log_temperature: float) -> float:
        def of_part(logits: np.ndarray, labels: np.ndarray) -> float:
            log_probabilities = log_softmax(logits / math.exp(log_temperature), axis=1)
            return -float(log_probabilities[np.arange(len(labels)), labels].mean())

        return _mean(of_part, parts)

    low, high = TEMPERATURES
    found = minimize_scalar(
        cross_entropy, bounds=(math.log(low), math.log(high)), method="bounded", options={"xatol": 1e-6}
    )
    return math.exp(found.x)


def fit_malignant_threshold(parts: Sequence[Part]) -> float | None:
    """The largest threshold of the summed malignant probability that :data:`SENSITIVITY` of malignant images reach.

    Each of ``parts`` with malignant images has the same weight. None if no image is malignant.
    """
    malignant = class_indices(MALIGNANT)
    sums = [probabilities[:, malignant].sum(1)[np.isin(labels, malignant)] for probabilities, labels in parts]
    sums = [-part for part in sums if len(part)]
    return -quantile(sums, SENSITIVITY) if sums else None


def fit_plausible_threshold(parts: Sequence[Part]) -> float:
    """The probability from which a diagnosis cannot be excluded, with :data:`COVERAGE` in each of ``parts``.

    A part has the probabilities (N, C) and the true classes (N,) of one domain's held-out images. Their scores are
    ``1 - p[true class]``. The set of split conformal prediction holds the classes whose score is at most the
    ``ceil((N + 1) * COVERAGE)``-th smallest of these (Sadinle, Lei and Wasserman, JASA 2019; Angelopoulos and Bates,
    arXiv:2107.07511), which is 1 minus the ``floor((N + 1) * (1 - COVERAGE))``-th smallest probability of a true class.
    The lowest of all parts' thresholds is taken; 0, which excludes nothing, if a part has too few images.
    """
    thresholds = []
    for probabilities, labels in parts:
        rank = math.floor((1 - COVERAGE) * (len(labels) + 1) + 1e-9)
        of_truth = np.sort(probabilities[np.arange(len(labels)), labels])
        thresholds.append(float(of_truth[rank - 1]) if rank else 0.0)
    return min(thresholds)


def fit_novelty(train_features: np.ndarray, validation_features: Sequence[np.ndarray]) -> Novelty:
    """Mahalanobis distance to the training images' features, one Gaussian for all classes (Lee et al., NeurIPS 2018).

    Intermediate features (M, D) are used because pictures other than skin differ in them, while the last layer's
    mainly separate the classes. The limit is a quantile of the distances of ``validation_features``, (N, D) for each
    part.
    """
    mean = train_features.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov((train_features - mean).T))
    whiten = directions / np.sqrt(variances + SHRINKAGE * variances.mean())
    novelty = Novelty(torch.from_numpy(mean).float(), torch.from_numpy(whiten).float(), limit=1.0)
    distances = [novelty(torch.from_numpy(part).float()).numpy() for part in validation_features]
    novelty.limit = quantile(distances, FAMILIAR_SHARE)
    return novelty


def quantile(parts: Sequence[np.ndarray], share: float) -> float:
    """The weighted ``share``-quantile of the values; all of ``parts`` have the same weight."""
    weights = np.concatenate([np.full(len(part), 1 / len(part)) for part in parts])
    values = np.concatenate(parts).astype(float)
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) >= share * len(parts) - 1e-9
    return float(values[order][reached.argmax()])


def _mean(metric: Callable, parts: Sequence[Part]) -> float:
    return float(np.mean([metric(*part) for part in parts]))
