"""Ablations of the explanation method: each choice beside its alternatives, on validation photographs.

    .venv/bin/python benchmarks/method.py DATA              takes an hour; DATA has the layout of HAM10000
    .venv/bin/python benchmarks/method.py --photos 10 --only hidden DATA

Every variant differs from ours in one choice. Runs of 256 masks are compared with each other (Jaccard index of the five
strongest regions, spread of the weights), the fit to all masks with the photograph and the lesion's mask. Brackets hold
the 95 % interval of the mean difference from ours, by a percentile bootstrap over the photographs; an asterisk marks
those that exclude zero.
"""

from __future__ import annotations

import argparse
import json
import re
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
from benchmarks.explanation_metrics import deletion_and_insertion, jaccard, overlap, without_details
from evaluate.dataset import find_examples, split_by_lesion
from handler.engines.classifier import Classifier
from handler.explain.lime.interactions import fit_interactions
from handler.explain.lime.masks import blocks
from handler.explain.lime.regions import closeness, paint, regions_of, skin_surface
from handler.explain.lime.surrogate import fit, log_odds
from handler.model.checkpoint import Checkpoint
from handler.model.images import network_square

ROOT = Path(__file__).resolve().parent.parent

RUN, BATCH = 256, 32
RESAMPLES = 2000
FEATHER = 3.0
"""Standard deviation in pixels of the blur that softens the borders of hidden regions."""

FIGURES = ("regions", "R²", "R² with pairs", "spread", "Jaccard", "deletion", "insertion", "overlap")

Array = np.ndarray


@dataclass(frozen=True)
class Variant:
    """A way to compute an explanation.

    Attributes:
        regions: segments a square (H, W, 3) into regions (H, W).
        hidden: pixels of hidden regions, from the square and its regions.
        masks: boolean (N, regions), from the regions (H, W), N and a random generator.
        outcome: the local model's target, from probabilities.
        paint: perturbed photographs, from square, hidden pixels, regions and masks.
    """

    regions: Callable[[Array], Array]
    hidden: Callable[[Array, Array], Array]
    masks: Callable[[Array, int, np.random.Generator], Array]
    outcome: Callable[[Array], Array]
    paint: Callable[[Array, Array, Array, Array], Array] = paint


def designed(segments: Array, count: int, rng: np.random.Generator) -> Array:
    """Our factorial designs, one for each run."""
    close = closeness(segments)
    runs = (next(blocks(len(close), rng, RUN, close)) for _ in range(count // RUN))
    return np.concatenate(list(runs))


def designed_regardless(segments: Array, count: int, rng: np.random.Generator) -> Array:
    """Factorial designs whose columns are dealt out at random."""
    runs = (next(blocks(int(segments.max()) + 1, rng, RUN)) for _ in range(count // RUN))
    return np.concatenate(list(runs))


def coins(segments: Array, count: int, rng: np.random.Generator) -> Array:
    """Independent coins, as in lime."""
    return rng.random((count, int(segments.max()) + 1)) < 0.5


def complementary_coins(segments: Array, count: int, rng: np.random.Generator) -> Array:
    """Independent coins, each mask followed by its complement."""
    half = coins(segments, count // 2, rng)
    return np.stack([half, ~half], axis=1).reshape(count, -1)


def mostly_shown(segments: Array, count: int, rng: np.random.Generator) -> Array:
    """Masks near the photograph, where the kernel's weight is (GLIME: Tan, Tian, Li, NeurIPS 2023)."""
    return rng.random((count, int(segments.max()) + 1)) < 0.8


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
    return without_details(square, 20)


OURS = Variant(regions_of, lambda square, _: skin_surface(square), designed, log_odds)


def flat_skin(square: Array, segments: Array) -> Array:
    """The median colour of the border, a tenth of the square wide."""
    border = max(1, min(square.shape[:2]) // 10)
    inside = np.zeros(square.shape[:2], bool)
    inside[border:-border, border:-border] = True
    return np.broadcast_to(np.median(square[~inside], axis=0).astype(np.uint8), square.shape)


def noisy_skin(square: Array, segments: Array) -> Array:
    """The smooth surface with the skin's texture, as noise of the border's standard deviation."""
    surface = skin_surface(square).astype(np.float64)
    border = np.ones(square.shape[:2], bool)
    border[22:-22, 22:-22] = False
    scale = 1.4826 * np.median(np.abs(square - surface)[border], axis=0)
    noise = np.random.default_rng(0).normal(size=square.shape[:2])[..., None] * scale
    return (surface + noise).round().clip(0, 255).astype(np.uint8)


def feathered(square: Array, hidden: Array, segments: Array, masks: Array) -> Array:
    """As :func:`handler.explain.lime.regions.paint` with soft borders."""
    shown = np.stack([gaussian((segments == r).astype(np.float32), FEATHER) for r in range(masks.shape[1])])
    share = np.tensordot(masks.astype(np.float32), shown, 1)[..., None]
    return (hidden + share * (square.astype(np.float32) - hidden)).round().clip(0, 255).astype(np.uint8)


VARIANTS = {
    "ours": OURS,
    "probability, not log-odds": replace(OURS, outcome=lambda p: p.astype(np.float64)),
    "columns at random": replace(OURS, masks=designed_regardless),
    "independent coins": replace(OURS, masks=coins),
    "coins and their complements": replace(OURS, masks=complementary_coins),
    "four of five regions shown": replace(OURS, masks=mostly_shown),
    "hidden: flat skin colour": replace(OURS, hidden=flat_skin),
    "hidden: smooth skin surface with noise": replace(OURS, hidden=noisy_skin),
    "hidden: feathered borders": replace(OURS, paint=feathered),
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
    p.add_argument("--photos", type=int, default=56, help="how many validation photographs (default: 56)")
    p.add_argument("--masks", type=int, default=1536, help=f"per photograph, a multiple of {RUN} (default: 1536)")
    p.add_argument("--only", default="", help="regular expression that a variant's name has to match")
    p.add_argument("--json", type=Path, help="file for the figures of every photograph")
    arguments = p.parse_args()
    classifier = Classifier(Checkpoint.load(ROOT / "model_store/model_mlbio.pth"))
    photographs = load_photographs(arguments.root, arguments.photos)
    print(f"{len(photographs)} validation photographs, {arguments.masks} masks\n")
    print("| | " + " | ".join(FIGURES) + " |\n" + "| --- " * (len(FIGURES) + 1) + "|")
    found: dict[str, Array] = {}
    for name, variant in VARIANTS.items():
        if name == "ours" or re.search(arguments.only, name):
            found[name] = np.array([measure(classifier, variant, *pair, arguments.masks) for pair in photographs])
            print(row(name, found[name], found["ours"]), flush=True)
    if arguments.json:
        content = {name: dict(zip(FIGURES, rows.T.tolist(), strict=True)) for name, rows in found.items()}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


def load_photographs(root: Path, count: int) -> list[tuple[Array, Array]]:
    """Squares of validation photographs, classes in turn as far as they reach, with the masks of their lesions."""
    _, held_out = split_by_lesion(find_examples(root, "train"), 0.1, 0)
    order = np.random.default_rng(0).permutation(len(held_out))
    by_class = [[held_out[i] for i in order if held_out[i].label == c] for c in range(len(CLASSES))]
    turns = [examples[turn] for turn in range(len(held_out)) for examples in by_class if turn < len(examples)]
    return [(network_square(open_photograph(e.path.read_bytes())), lesion_of(root, e)) for e in turns[:count]]


def row(name: str, figures: Array, ours: Array) -> str:
    """A row of the table, from figures (photographs, :data:`FIGURES`)."""
    cells = [f"{value:.3f}" for value in np.nanmean(figures, axis=0)]
    if figures is not ours:
        rng = np.random.default_rng(0)
        samples = rng.integers(len(ours), size=(RESAMPLES, len(ours)))
        for column, difference in enumerate((figures - ours).T):
            if np.isfinite(difference).any() and difference.any():
                low, high = np.nanpercentile(np.nanmean(difference[samples], axis=1), [2.5, 97.5])
                cells[column] += f" ({low:+.3f} to {high:+.3f})" + ("*" if low > 0 or high < 0 else "")
    return f"| {name} | " + " | ".join(cells) + " |"


def measure(classifier: Classifier, variant: Variant, square: Array, lesion: Array, count: int) -> tuple[float, ...]:
    """The :data:`FIGURES` of one photograph; R² with interactions is NaN without complementary masks."""
    label = int(classifier.probabilities(square[None])[0].argmax())
    segments = variant.regions(square)
    hidden, regions = variant.hidden(square, segments), int(segments.max()) + 1
    masks = variant.masks(segments, count, np.random.default_rng(1))
    answers = [
        classifier.sample_probabilities(variant.paint(square, hidden, segments, masks[i : i + BATCH]))
        for i in range(0, count, BATCH)
    ]
    outcomes = variant.outcome(np.concatenate(answers))
    runs = [fit(masks[i : i + RUN], outcomes[i : i + RUN]).weights[label] for i in range(0, count, RUN)]
    whole = fit(masks, outcomes)
    complementary = (masks[::2] != masks[1::2]).all()
    higher = fit_interactions(masks, outcomes[:, label], closeness(segments)) if complementary else None
    explained = Explained(whole.weights[label], segments, count, 0.0)
    spread = np.sqrt(np.var(runs, axis=0, ddof=1).sum()) / np.linalg.norm(explained.weights)
    agreement = jaccard([Explained(weights, segments, RUN, 0.0) for weights in runs])
    deletion, insertion = deletion_and_insertion(
        classifier.probabilities, square, without_details(square), label, explained
    )
    return (
        regions,
        whole.r2[label],
        higher.r2 if higher else np.nan,
        spread,
        agreement,
        deletion,
        insertion,
        overlap(explained, lesion),
    )


if __name__ == "__main__":
    main()
