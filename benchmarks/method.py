"""Ablations of the explanation method: each choice beside its alternatives, on validation photographs.

    .venv/bin/python benchmarks/method.py DATA              takes minutes; DATA has the layout of HAM10000
    .venv/bin/python benchmarks/method.py --photos 10 DATA

Every variant differs from ours in one choice. Runs of 256 masks are compared with each other (Jaccard index of the five
strongest regions, spread of the weights), the fit to all masks with the photograph and the lesion's mask.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from skimage.filters import gaussian
from skimage.segmentation import quickshift, slic

from api.classes import CLASSES
from api.photograph import open_photograph
from benchmarks.explain import lesion_of
from benchmarks.explainers import Explained
from benchmarks.explanation_metrics import deletion_and_insertion, jaccard, overlap
from evaluate.dataset import find_examples, split_by_lesion
from handler.checkpoint import Checkpoint
from handler.engines import Classifier
from handler.images import network_square
from handler.masks import blocks
from handler.regions import paint, regions_of, surrounding_colour
from handler.surrogate import fit, log_odds

ROOT = Path(__file__).resolve().parent.parent

MASKS, RUN, BATCH = 1536, 256, 32

Array = np.ndarray


@dataclass(frozen=True)
class Variant:
    """A way to compute an explanation.

    Attributes:
        regions: segments a square (H, W, 3) into regions (H, W).
        hidden: pixels of hidden regions, from the square and its regions.
        masks: boolean (MASKS, regions), from the number of regions and a random generator.
        outcome: the local model's target, from probabilities.
    """

    regions: Callable[[Array], Array]
    hidden: Callable[[Array, Array], Array]
    masks: Callable[[int, np.random.Generator], Array]
    outcome: Callable[[Array], Array]


def designed(regions: int, rng: np.random.Generator) -> Array:
    """Our factorial designs, one for each run."""
    runs = (next(blocks(regions, rng, RUN)) for _ in range(MASKS // RUN))
    return np.concatenate(list(runs))


def coins(regions: int, rng: np.random.Generator) -> Array:
    """Independent coins, as in lime."""
    return rng.random((MASKS, regions)) < 0.5


def complementary_coins(regions: int, rng: np.random.Generator) -> Array:
    """Independent coins, each mask followed by its complement."""
    half = rng.random((MASKS // 2, regions)) < 0.5
    return np.stack([half, ~half], axis=1).reshape(-1, regions)


def mostly_shown(regions: int, rng: np.random.Generator) -> Array:
    """Masks near the photograph, where the kernel's weight is (GLIME: Tan, Tian, Li, NeurIPS 2023)."""
    return rng.random((MASKS, regions)) < 0.8


def numbered(segments: Array) -> Array:
    """Regions numbered from 0 without gaps."""
    return np.unique(segments, return_inverse=True)[1].reshape(segments.shape)


def superpixels(count: int) -> Callable[[Array], Array]:
    """SLIC with about ``count`` regions."""
    return lambda square: numbered(slic(square, n_segments=count, compactness=10, sigma=1))


def limes_regions(square: Array) -> Array:
    """The lime package's default segmentation."""
    return numbered(quickshift(square, kernel_size=4, max_dist=200, ratio=0.2, rng=0))


def own_mean(square: Array, segments: Array) -> Array:
    """The mean colour of each region, as in lime."""
    sizes = np.bincount(segments.ravel())
    means = np.stack([np.bincount(segments.ravel(), square[..., c].ravel()) / sizes for c in range(3)], axis=1)
    return means[segments].astype(np.uint8)


def blurred(square: Array, segments: Array) -> Array:
    """The blurred photograph."""
    return (gaussian(square / 255.0, 20, channel_axis=2) * 255).astype(np.uint8)


OURS = Variant(regions_of, lambda square, _: surrounding_colour(square), designed, log_odds)
VARIANTS = {
    "ours": OURS,
    "probability, not log-odds": replace(OURS, outcome=lambda p: p.astype(np.float64)),
    "independent coins": replace(OURS, masks=coins),
    "coins and their complements": replace(OURS, masks=complementary_coins),
    "four of five regions shown": replace(OURS, masks=mostly_shown),
    "hidden: own mean colour": replace(OURS, hidden=own_mean),
    "hidden: blurred": replace(OURS, hidden=blurred),
    "hidden: black": replace(OURS, hidden=lambda square, _: np.zeros(3, np.uint8)),
    "SLIC 25": replace(OURS, regions=superpixels(25)),
    "SLIC 50": replace(OURS, regions=superpixels(50)),
    "quickshift": replace(OURS, regions=limes_regions),
    "all of lime's": Variant(limes_regions, own_mean, coins, lambda p: p.astype(np.float64)),
}


def main() -> None:
    """Print a row for each variant."""
    p = argparse.ArgumentParser(description="Ablations of the explanation method on validation photographs.")
    p.add_argument("root", type=Path, help="HAM10000, with its segmentations")
    p.add_argument("--photos", type=int, default=4, help="how many validation photographs (default: 4)")
    arguments = p.parse_args()
    classifier = Classifier(Checkpoint.load(ROOT / "model_store/model_mlbio.pth"))
    _, held_out = split_by_lesion(find_examples(arguments.root, "train"), 0.1, 0)
    order = np.random.default_rng(0).permutation(len(held_out))
    by_class = [[held_out[i] for i in order if held_out[i].label == c] for c in range(len(CLASSES))]
    chosen = [by_class[i % len(CLASSES)][i // len(CLASSES)] for i in range(arguments.photos)]
    photographs = [(network_square(open_photograph(e.path.read_bytes())), lesion_of(arguments.root, e)) for e in chosen]
    print("| | regions | R² | spread | Jaccard | deletion | insertion | overlap |\n" + "| --- " * 8 + "|")
    for name, variant in VARIANTS.items():
        rows = [measure(classifier, variant, square, lesion) for square, lesion in photographs]
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in np.mean(rows, axis=0)) + " |", flush=True)


def measure(classifier: Classifier, variant: Variant, square: Array, lesion: Array) -> tuple[float, ...]:
    """Number of regions, R², spread and Jaccard index of the runs, deletion, insertion, overlap."""
    label = int(classifier.probabilities(square[None])[0].argmax())
    segments = variant.regions(square)
    hidden, regions = variant.hidden(square, segments), int(segments.max()) + 1
    masks = variant.masks(regions, np.random.default_rng(1))
    answers = [
        classifier.sample_probabilities(paint(square, hidden, segments, masks[i : i + BATCH]))
        for i in range(0, MASKS, BATCH)
    ]
    outcomes = variant.outcome(np.concatenate(answers))
    runs = [fit(masks[i : i + RUN], outcomes[i : i + RUN]).weights[label] for i in range(0, MASKS, RUN)]
    whole = fit(masks, outcomes)
    explained = Explained(whole.weights[label], segments, MASKS, 0.0)
    spread = np.sqrt(np.var(runs, axis=0, ddof=1).sum()) / np.linalg.norm(explained.weights)
    agreement = jaccard([Explained(weights, segments, RUN, 0.0) for weights in runs])
    deletion, insertion = deletion_and_insertion(classifier.probabilities, square, label, explained)
    return regions, whole.r2[label], spread, agreement, deletion, insertion, overlap(explained, lesion)


if __name__ == "__main__":
    main()
