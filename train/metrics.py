"""Figures of a classifier, from its probabilities and the true labels."""

from __future__ import annotations

import numpy as np


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose most probable class is the true one. ``probabilities`` (N, C), ``labels`` (N,)."""
    return float((probabilities.argmax(1) == labels).mean())


def recalls(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Sensitivity of each class, shape (C,); NaN for a class that has no image."""
    predicted = probabilities.argmax(1)
    classes = range(probabilities.shape[1])
    return np.array([(predicted[labels == c] == c).mean() if (labels == c).any() else np.nan for c in classes])


def balanced_accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean sensitivity over the classes that have images."""
    return float(np.nanmean(recalls(probabilities, labels)))


def confusion(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts of shape (C, C): rows are true classes, columns predicted ones."""
    classes = probabilities.shape[1]
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (labels, probabilities.argmax(1)), 1)
    return matrix


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over equal-width bins (Naeini et al., AAAI 2015)."""
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[index == b].mean() - correct[index == b].mean()) * (index == b).mean()
        for b in range(bins)
        if (index == b).any()
    ]
    return float(sum(gaps))
