"""Find photographs of other sources that show a lesion of HAM10000, photographed or cropped otherwise.

    python benchmarks/same_lesions.py ../shared/ham10000 --also ../shared/elsewhere

Each photograph's nearest neighbours by a network's features are compared with it by SIFT (Lowe, IJCV 2004) and RANSAC.
The pairs whose keypoints agree on a similarity transform go into ``evaluate/same_lesions.csv``, which decides what is
held out of these sources. It takes minutes, and needs OpenCV.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from tqdm import tqdm

from api.arguments import UsageError, ensure_writable
from api.photograph import ImageError, open_photograph
from evaluate.arguments import add_also_option
from evaluate.dataset import DataError, Example, find_examples
from evaluate.sources import HELD_OUT_SOURCES, SAME_LESIONS, find_sources
from handler.model.network import Network, Normalise
from train.precision import mixed_precision
from train.weights import starting_network

SIDE = 256
"""Shorter side in pixels of what SIFT sees."""

FEATURE_SIDE, BATCH = 160, 64
"""Side of the squares that the network sees, and how many form a batch."""

NEIGHBOURS = 20
"""Photographs of HAM10000 that each one is compared with."""

KEYPOINTS, RATIO, TOLERANCE = 400, 0.8, 4.0
"""Most keypoints of a photograph, Lowe's ratio of the nearest two distances, and RANSAC's tolerance in pixels."""

LEAST_INLIERS = 6
"""Distinct keypoints that agree. milk10k's 18 pairs with the fewest, 6 to 12, were checked by eye: all are right."""


class Keypoints(NamedTuple):
    """Positions (K, 2) in pixels, and RootSIFT descriptors (K, 128) of length 1."""

    positions: np.ndarray
    descriptors: np.ndarray


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        ensure_writable(arguments.output, "--output")
        ours = find_examples(arguments.root, "train")
        found = find_sources(arguments.also).examples
        theirs = [example for example in found if example.source in arguments.sources]
        if not theirs:
            raise UsageError(f"the folders of --also have no photograph of {', '.join(arguments.sources)}")
        pairs = same_lesions(ours, theirs, starting_network(arguments.init)[0].eval())
    except (DataError, UsageError) as error:
        print(f"same_lesions.py: error: {error}", file=sys.stderr)
        return 2
    with arguments.output.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["image_id", "lesion_id"])
        table.writerows(sorted((theirs.path.stem, ours.lesion) for theirs, ours in pairs))
    agree = sum(theirs.label == ours.label for theirs, ours in pairs)
    print(
        f"{len(pairs)} of {len(theirs)} photographs show a lesion of HAM10000; {agree} of these have its diagnosis -> "
        f"{arguments.output}"
    )
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(description="Find photographs of other sources that show a lesion of HAM10000.")
    p.add_argument("root", help="folder of HAM10000")
    add_also_option(p)
    p.add_argument("--init", help="weights whose features are compared (default: torchvision's ImageNet ones)")
    p.add_argument(
        "--sources", nargs="+", default=list(HELD_OUT_SOURCES), help=f"default: {', '.join(HELD_OUT_SOURCES)}"
    )
    p.add_argument("--output", type=Path, default=SAME_LESIONS, metavar="CSV", help=f"default: {SAME_LESIONS.name}")
    return p


def same_lesions(ours: Sequence[Example], theirs: Sequence[Example], network: Network) -> list[tuple[Example, Example]]:
    """Each of ``theirs`` with the one of ``ours`` that shows the same lesion, where there is one.

    Raises:
        DataError: an image cannot be read.
    """
    features = [features_of(examples, network) for examples in (ours, theirs)]
    mean = np.concatenate(features).mean(0)
    own, other = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (part - mean for part in features))
    nearest = np.argsort(-other @ own.T, axis=1)[:, :NEIGHBOURS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        own_keypoints, other_keypoints = (
            list(pool.map(lambda example: keypoints(read(example)), examples)) for examples in (ours, theirs)
        )

        def best(number: int) -> tuple[int, int]:
            return max((inliers(other_keypoints[number], own_keypoints[j]), int(j)) for j in nearest[number])

        found = list(pool.map(best, range(len(theirs))))
    return [(theirs[i], ours[j]) for i, (agreeing, j) in enumerate(found) if agreeing >= LEAST_INLIERS]


@torch.inference_mode()
def features_of(examples: Sequence[Example], network: Network) -> np.ndarray:
    """The intermediate and the last features, each of length 1, for the centre squares (N, D)."""
    normalise = Normalise()

    def square(example: Example) -> np.ndarray:
        pixels = read(example)
        top, left = ((side - SIDE) // 2 for side in pixels.shape[:2])
        middle = pixels[top : top + SIDE, left : left + SIDE]
        return cv2.resize(middle, (FEATURE_SIDE, FEATURE_SIDE), interpolation=cv2.INTER_AREA)

    def batches() -> Iterator[torch.Tensor]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in tqdm(range(0, len(examples), BATCH), desc="features", leave=False, disable=None):
                yield torch.from_numpy(np.stack(list(pool.map(square, examples[start : start + BATCH]))))

    features, last = [], []
    hook = network.get_submodule(network.head).register_forward_pre_hook(lambda _, inputs: last.append(inputs[0]))
    for batch in batches():
        x = normalise(batch.permute(0, 3, 1, 2).float()).contiguous(memory_format=torch.channels_last)
        with mixed_precision(torch.device("cpu")):
            intermediate, _ = network.features_and_logits(x)
        features.append(torch.cat([F.normalize(layer.float()) for layer in (intermediate, last.pop())], 1).numpy())
    hook.remove()
    return np.concatenate(features)


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
    if clear.sum() < LEAST_INLIERS:
        return 0
    here, there = first.positions[clear], second.positions[nearest[clear]]
    transform, agree = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=TOLERANCE)
    return 0 if transform is None else len(np.unique(there[agree[:, 0] > 0].round(), axis=0))


if __name__ == "__main__":
    sys.exit(main())
