"""Finding photographs of the same lesion, taken or cropped differently.

Each photograph is compared with its nearest neighbours in the network's features, by SIFT (Lowe, IJCV 2004) and RANSAC:
the keypoints of two photographs of one lesion agree on a similarity transform.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image

from api.photograph import ImageError, open_photograph
from evaluate.dataset import DataError, Example, load_squares
from handler.model.checkpoint import Checkpoint
from handler.model.network import Normalise

FEATURE_SIDE, BATCH = 160, 64
"""Side in pixels of the network's input, and batch size."""

NEIGHBOURS = 20
"""Number of candidates for each photograph."""

SIDE = 256
"""Shorter side in pixels for SIFT."""

KEYPOINTS, RATIO, TOLERANCE = 400, 0.8, 4.0
"""Most keypoints of a photograph, Lowe's ratio of the nearest two distances, and RANSAC's tolerance in pixels."""

MIN_INLIERS = 6
"""Minimum number of agreeing keypoints. Of milk10k's pairs, the 18 with the fewest (6 to 12) are correct by eye."""


class Keypoints(NamedTuple):
    """Positions (K, 2) in pixels, and RootSIFT descriptors (K, 128) of length 1."""

    positions: np.ndarray
    descriptors: np.ndarray


def same_lesions(
    ours: Sequence[Example], theirs: Sequence[Example], checkpoint: Checkpoint
) -> list[tuple[Example, Example]]:
    """Each of ``theirs`` with the one of ``ours`` that shows the same lesion, where there is one.

    Raises:
        DataError: an image cannot be read.
    """
    nearest = nearest_neighbours(*(features_of(examples, checkpoint) for examples in (ours, theirs)))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        our_keypoints, their_keypoints = (
            list(pool.map(lambda example: keypoints(read(example)), examples)) for examples in (ours, theirs)
        )

        def best(i: int) -> tuple[int, int]:
            return max((inliers(their_keypoints[i], our_keypoints[j]), int(j)) for j in nearest[i])

        found = list(pool.map(best, range(len(theirs))))
    return [(theirs[i], ours[j]) for i, (agreeing, j) in enumerate(found) if agreeing >= MIN_INLIERS]


@torch.inference_mode()
def features_of(examples: Sequence[Example], checkpoint: Checkpoint) -> np.ndarray:
    """The network's features of the centre squares, (N, D).

    Raises:
        DataError: an image cannot be read.
    """
    network, normalise = checkpoint.network().eval(), Normalise()
    squares = torch.from_numpy(load_squares(examples, os.cpu_count() or 1, "reading", FEATURE_SIDE))
    batches = (normalise(batch.permute(0, 3, 1, 2).float()) for batch in squares.split(BATCH))
    return torch.cat([network.features_and_logits(batch)[0] for batch in batches]).numpy()


def nearest_neighbours(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Indices (N, :data:`NEIGHBOURS`) of the features in ``ours`` with the largest cosine similarity to ``theirs``."""
    mean = np.concatenate([ours, theirs]).mean(0)
    own, other = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (ours - mean, theirs - mean))
    return np.argsort(-other @ own.T, axis=1)[:, :NEIGHBOURS]


def read(example: Example) -> np.ndarray:
    """The whole photograph with a shorter side of :data:`SIDE` pixels, ``uint8`` (H, W, 3).

    Raises:
        DataError: it cannot be read.
    """
    try:
        photograph = open_photograph(example.path.read_bytes())
    except (ImageError, OSError) as error:
        raise DataError(f"{example.path}: {error}") from None
    scale = SIDE / min(photograph.size)
    width, height = (round(side * scale) for side in photograph.size)
    return np.asarray(photograph.resize((width, height), Image.Resampling.BILINEAR))


def keypoints(pixels: np.ndarray) -> Keypoints | None:
    """SIFT keypoints of RGB ``pixels``, with RootSIFT descriptors (Arandjelović and Zisserman, CVPR 2012)."""
    grey = cv2.createCLAHE(3, (4, 4)).apply(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    points, descriptors = cv2.SIFT.create(KEYPOINTS).detectAndCompute(grey, None)
    if descriptors is None or len(points) < 2:
        return None
    shares = descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-6)
    return Keypoints(np.array([point.pt for point in points], np.float32), np.sqrt(shares).astype(np.float32))


def inliers(first: Keypoints | None, second: Keypoints | None) -> int:
    """Distinct keypoints of ``second`` that agree with ``first`` on one similarity transform."""
    if first is None or second is None:
        return 0
    similarity = first.descriptors @ second.descriptors.T
    nearest, next_nearest = np.argsort(-similarity, axis=1)[:, :2].T
    rows = np.arange(len(similarity))
    distances = [2 - 2 * similarity[rows, columns] for columns in (nearest, next_nearest)]
    clear = distances[0] < RATIO**2 * distances[1]
    if clear.sum() < MIN_INLIERS:
        return 0
    here, there = first.positions[clear], second.positions[nearest[clear]]
    transform, agree = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=TOLERANCE)
    return 0 if transform is None else len(np.unique(there[agree[:, 0] > 0].round(), axis=0))
