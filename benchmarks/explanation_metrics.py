"""Metrics of explanations."""

from __future__ import annotations

import copy

import numpy as np
import torch
from skimage.filters import gaussian
from torch import nn

from benchmarks.explanations import Explained, Probabilities

STEPS = 21
"""Number of steps in which all pixels of a photograph are replaced."""

BLUR = 16
"""Standard deviation, in pixels, of the blur that replaces removed pixels."""


def jaccard(first: Explained, second: Explained) -> float:
    """Jaccard index of the five strongest regions."""
    a, b = first.strongest(), second.strongest()
    return len(a & b) / max(len(a | b), 1)


def distance(explained: Explained, reference: Explained) -> float:
    """Euclidean distance of the weights, relative to the norm of the reference's."""
    length = float(np.linalg.norm(reference.weights))
    return float(np.linalg.norm(explained.weights - reference.weights)) / max(length, 1e-12)


def distance_to_converged(first: Explained, second: Explained) -> float:
    """Estimated :func:`distance` of either of two independent explanations to the converged one.

    The variance of each is half of their squared difference.
    """
    length = float(np.linalg.norm(first.weights + second.weights)) / 2
    return float(np.linalg.norm(first.weights - second.weights)) / np.sqrt(2) / max(length, 1e-12)


def overlap(explained: Explained, lesion: np.ndarray) -> float:
    """Share of the positive weight on the lesion, boolean (H, W); NaN if no weight is positive.

    Relevance mass accuracy (Arras, Osman, Samek, "CLEVR-XAI", Information Fusion 2022).
    """
    positive = np.clip(explained.pixels(), 0, None)
    return float(positive[lesion].sum() / positive.sum()) if positive.any() else np.nan


def blurred(square: np.ndarray) -> np.ndarray:
    """A blurred photograph, ``uint8`` (H, W, 3), the baseline of Petsiuk et al. for insertion."""
    return (gaussian(square / 255.0, BLUR, channel_axis=2) * 255).astype(np.uint8)


def deletion_and_insertion(
    probabilities: Probabilities, square: np.ndarray, removed: np.ndarray, label: int, explained: Explained
) -> tuple[float, float]:
    """Areas under the deletion and insertion curves: mean probability while the highest-ranked pixels go or return.

    Petsiuk, Das, Saenko, "RISE", BMVC 2018. ``removed``, ``uint8`` (H, W, 3), has the pixels that replace those of
    ``square``. Pixels of a region are ranked at random.
    """
    ties = np.random.default_rng(0).random(square.shape[:2])
    ranking = np.lexsort((ties.ravel(), -explained.pixels().ravel()))
    return (
        _mean_probability(probabilities, square, removed, label, ranking),
        _mean_probability(probabilities, removed, square, label, ranking),
    )


def _mean_probability(
    probabilities: Probabilities, start: np.ndarray, end: np.ndarray, label: int, ranking: np.ndarray
) -> float:
    """Mean probability of ``label`` while pixels of ``start`` are replaced by those of ``end``, by ``ranking``."""
    images = np.empty((STEPS, *start.shape), np.uint8)
    current = start.copy()
    for image, pixels in zip(images, np.array_split(ranking, STEPS), strict=True):
        current.reshape(-1, 3)[pixels] = end.reshape(-1, 3)[pixels]
        image[:] = current
    return float(probabilities(images)[:, label].mean())


def with_random_weights(network: nn.Module, seed: int = 0) -> nn.Module:
    """A copy with new weights, whose explanations should be unlike those of the network.

    Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018.
    """
    network = copy.deepcopy(network)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for module in network.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    return network
