"""What is fitted to the held-out images after training: bias, temperature, thresholds and novelty."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torch import nn

from api.classes import CLASSES, MALIGNANT, class_indices
from evaluate.metrics import accuracy, balanced_accuracy
from evaluate.trade_off import best_index
from handler.checkpoint import Checkpoint
from handler.network import Normalise, features_and_logits
from handler.novelty import Novelty
from handler.plausible import COVERAGE
from handler.quantise import activation_ranges, fold_batch_norm, rounding_errors
from train.precision import mixed_precision

SENSITIVITY = 0.95
"""Share of malignant validation images that reach the malignant threshold."""

FAMILIAR_SHARE = 0.98
"""Share of validation images whose novelty stays below its limit."""

STRENGTHS = tuple(tenth / 10 for tenth in range(11))
"""Of the bias of rare classes; 1 treats all classes as equally frequent."""

TEMPERATURES = (0.2, 5.0)
"""Range of :func:`fit_temperature`."""

QUANTISATION_IMAGES, QUANTISATION_BATCH = 256, 8
"""Training images that the 8-bit network's ranges and biases are fitted to, and how many form a batch."""

SHRINKAGE = 0.1
"""Share of the mean variance that is added to each direction's, so that no nearly constant feature dominates."""

PREDICTION_BATCH = 64


def complete(
    checkpoint: Checkpoint,
    train_squares: np.ndarray,
    validation_squares: np.ndarray,
    labels: np.ndarray,
    device: torch.device,
) -> np.ndarray:
    """Fit all that serving needs beside the weights, and store it in ``checkpoint``.

    The network runs in float32, as serving does, so that thresholds mean the same there.

    Args:
        checkpoint: the trained weights.
        train_squares: images that the network was trained on, ``uint8`` (M, 224, 224, 3).
        validation_squares: held-out images, ``uint8`` (N, 224, 224, 3).
        labels: their classes (N,).
        device: where to compute.

    Returns:
        Calibrated probabilities (N, classes) of the validation images.
    """
    network = checkpoint.network().to(device).to(memory_format=torch.channels_last)
    train_features, _ = predict(network, train_squares, device)
    features, logits = predict(network, validation_squares, device)
    checkpoint.bias = fit_bias(logits, labels)
    probabilities = calibrate(checkpoint, logits, labels)
    checkpoint.malignant_threshold = fit_malignant_threshold(probabilities, labels)
    checkpoint.plausible_threshold = fit_plausible_threshold([(probabilities, labels)])
    checkpoint.novelty = fit_novelty(train_features, features)
    fit_quantisation(checkpoint, train_squares)
    return probabilities


def fit_quantisation(checkpoint: Checkpoint, squares: np.ndarray) -> None:
    """Store what quantisation needs in ``checkpoint``, from training images taken evenly from ``squares``."""
    folded, normalise = fold_batch_norm(checkpoint.network()), Normalise()
    evenly = squares[:: max(len(squares) // QUANTISATION_IMAGES, 1)][:QUANTISATION_IMAGES]
    pixels = torch.from_numpy(np.ascontiguousarray(evenly)).permute(0, 3, 1, 2).float()
    batches = [normalise(batch) for batch in pixels.split(QUANTISATION_BATCH)]
    checkpoint.ranges = activation_ranges(folded, batches)
    checkpoint.rounding_errors = rounding_errors(folded, checkpoint.ranges, normalise.mean, normalise.std, batches)


@torch.inference_mode()
def predict(
    network: nn.Module, squares: np.ndarray, device: torch.device, mixed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Middle features (N, 256) and logits (N, classes) for ``uint8`` squares (N, S, S, 3).

    ``mixed`` allows bf16: faster, to about two digits.
    """
    all_features, all_logits, normalise = [], [], Normalise().to(device)
    precision = mixed_precision(device, enabled=mixed)
    for start in range(0, len(squares), PREDICTION_BATCH):
        batch = torch.from_numpy(squares[start : start + PREDICTION_BATCH])
        pixels = normalise(batch.permute(0, 3, 1, 2).to(device).float())
        with precision:
            features, logits = features_and_logits(network, pixels.contiguous(memory_format=torch.channels_last))
        all_features.append(features.float().cpu().numpy())
        all_logits.append(logits.float().cpu().numpy())
    return np.concatenate(all_features), np.concatenate(all_logits)


def calibrate(checkpoint: Checkpoint, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Fit ``checkpoint.temperature`` to logits (N, C) plus its bias; returns the calibrated probabilities (N, C)."""
    checkpoint.temperature = fit_temperature(logits + checkpoint.bias, labels)
    return softmax((logits + checkpoint.bias) / checkpoint.temperature, axis=1)


def fit_bias(logits: np.ndarray, labels: np.ndarray) -> list[float]:
    """A bias for each column of ``logits`` (N, C) that raises rare classes.

    It is proportional to the logarithm of a class's rarity among ``labels`` (logit adjustment: Menon et al., ICLR
    2021): the one of :data:`STRENGTHS` that :func:`evaluate.trade_off.best_index` finds.
    """
    biased = biased_logits(logits, labels)
    scores = [(float(accuracy(b, labels)), float(balanced_accuracy(b, labels))) for b in biased.values()]
    best = STRENGTHS[best_index(*zip(*scores, strict=True))]
    return [float(b) for b in best * rarities(labels, logits.shape[1])]


def best_score(logits: np.ndarray, labels: np.ndarray) -> float:
    """The best :func:`selection_score` that ``logits`` (N, C) reach with a bias: epochs are selected by it."""
    return max(selection_score(biased, labels) for biased in biased_logits(logits, labels).values())


def biased_logits(logits: np.ndarray, labels: np.ndarray) -> dict[float, np.ndarray]:
    """``logits`` (N, C) with a bias of each of :data:`STRENGTHS`."""
    rarity = rarities(labels, logits.shape[1])
    return {strength: logits + strength * rarity for strength in STRENGTHS}


def rarities(labels: np.ndarray, classes: int = len(CLASSES)) -> np.ndarray:
    """The logarithm of each class's rarity among ``labels`` (N,), shape (classes,)."""
    counts = np.bincount(labels, minlength=classes)
    return np.log(counts.sum() / np.maximum(counts, 1))


def selection_score(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean of accuracy and balanced accuracy.

    Balanced accuracy alone depends on the few images of the rarest classes, accuracy alone on the nevi.
    """
    return float(accuracy(logits, labels) + balanced_accuracy(logits, labels)) / 2


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in :data:`TEMPERATURES` of least cross-entropy (Guo et al., ICML 2017)."""

    def cross_entropy(log_temperature: float) -> float:
        log_probabilities = log_softmax(logits / math.exp(log_temperature), axis=1)
        return -float(log_probabilities[np.arange(len(labels)), labels].mean())

    low, high = TEMPERATURES
    found = minimize_scalar(
        cross_entropy, bounds=(math.log(low), math.log(high)), method="bounded", options={"xatol": 1e-6}
    )
    return math.exp(found.x)


def fit_malignant_threshold(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """The largest sum of malignant probabilities that :data:`SENSITIVITY` of the malignant images reach.

    None if no image is malignant.
    """
    malignant = class_indices(MALIGNANT)
    sums = np.sort(probabilities[:, malignant].sum(1)[np.isin(labels, malignant)])
    if not len(sums):
        return None
    return float(sums[math.floor((1 - SENSITIVITY) * len(sums) + 1e-9)])


def fit_plausible_threshold(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The probability from which a diagnosis cannot be excluded, with :data:`COVERAGE` in each of ``parts``.

    A part has the probabilities (N, C) and the true classes (N,) of one domain's held-out images. Their scores are
    ``1 - p[true class]``. The set of split conformal prediction holds the classes whose score is at most the
    ``ceil((N + 1) * COVERAGE)``-th smallest of these (Sadinle, Lei and Wasserman, JASA 2019; Angelopoulos and Bates,
    arXiv:2107.07511), which is 1 minus the ``floor((N + 1) * (1 - COVERAGE))``-th smallest probability of a true class.
    The lowest of all parts' thresholds is taken; 0, which excludes nothing, if a part has too few images.
    """
    return min(_conformal_threshold(probabilities, labels) for probabilities, labels in parts)


def _conformal_threshold(probabilities: np.ndarray, labels: np.ndarray) -> float:
    rank = math.floor((1 - COVERAGE) * (len(labels) + 1) + 1e-9)
    of_truth = np.sort(probabilities[np.arange(len(labels)), labels])
    return float(of_truth[rank - 1]) if rank else 0.0


def fit_novelty(train_features: np.ndarray, validation_features: np.ndarray) -> Novelty:
    """Mahalanobis distance to the training images' features, one Gaussian for all classes (Lee et al., NeurIPS 2018).

    Middle features (M, D) are used because pictures other than skin differ there, while the last layer keeps little
    but what separates the seven classes. The limit is a quantile of the distances of ``validation_features`` (N, D).
    """
    mean = train_features.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov((train_features - mean).T))
    whiten = directions / np.sqrt(variances + SHRINKAGE * variances.mean())
    novelty = Novelty(torch.from_numpy(mean).float(), torch.from_numpy(whiten).float(), limit=1.0)
    distances = novelty(torch.from_numpy(validation_features).float()).numpy()
    novelty.limit = float(np.quantile(distances, FAMILIAR_SHARE))
    return novelty
