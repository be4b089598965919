"""Calibration of the stability that explanations report, against the agreement of two designs.

    .venv/bin/python benchmarks/calibration.py DATA                  DATA has the layout of HAM10000; takes 20 minutes
    .venv/bin/python benchmarks/calibration.py --photos 10 DATA

Each validation photograph is explained twice, with different masks. For each number of masks, one table has the
stability that both explanations estimate and the Jaccard index that they have; and the squared difference of their
weights over the sum of the squared standard errors, which is 1 for honest errors. Another has the fit of the models of
higher order, and the correlation of the interactions of pairs that both explanations find, beside those of a model that
expects as much of every interaction. The last groups all explanations by their estimate.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.explainers import Explained
from benchmarks.explanation_metrics import calibration, jaccard, print_calibration
from benchmarks.method import load_photographs
from handler.checkpoint import Checkpoint
from handler.engines import Classifier
from handler.explainer import BATCH, design_effect
from handler.interactions import SURPRISE, fit_interactions
from handler.masks import blocks
from handler.regions import regions_of, skin_surface
from handler.surrogate import fit, log_odds

ROOT = Path(__file__).resolve().parent.parent
SIZES = (128, 192, 256, 384, 512, 768, 1024)

EQUAL = 1e6
"""The ``surprise`` of :func:`handler.interactions.fit_interactions` that makes prior deviations equal."""


class HigherOrder(NamedTuple):
    """Means over two explanations, on samples left out, and how well their interactions of pairs correlate."""

    r2_with_pairs: float
    r2_with_triples: float
    correlation: float


@dataclass(frozen=True)
class Pair:
    """Two explanations of a photograph from as many masks each.

    Attributes:
        masks: their number.
        estimated: mean of the stabilities that both estimate.
        found: their Jaccard index.
        variance: mean squared difference of the weights over the mean of the summed squared standard errors.
        ours: figures of the models of higher order.
        equal: likewise, with the same prior deviation for every interaction.
    """

    masks: int
    estimated: float
    found: float
    variance: float
    ours: HigherOrder
    equal: HigherOrder


def main() -> None:
    """Print two tables."""
    p = argparse.ArgumentParser(description="Calibration of the stability of explanations on validation photographs.")
    p.add_argument("root", type=Path, help="HAM10000, with its segmentations")
    p.add_argument("--photos", type=int, default=28, help="how many validation photographs (default: 28)")
    arguments = p.parse_args()
    classifier = Classifier(Checkpoint.load(ROOT / "model_store/model_mlbio.pth"))
    photographs = load_photographs(arguments.root, arguments.photos)
    pairs = [pair for number, (square, _) in enumerate(photographs) for pair in compare(classifier, square, number)]
    print(f"{len(photographs)} validation photographs\n")
    print("| masks | stability estimated | found | squared difference ÷ expected |\n" + "| --- " * 4 + "|")
    for size in SIZES:
        rows = [pair for pair in pairs if pair.masks == size]
        cells = [np.mean([getattr(row, key) for row in rows]) for key in ("estimated", "found", "variance")]
        print(f"| {size} | " + " | ".join(f"{c:.3f}" for c in cells) + " |")
    print(
        "\n| masks | R² with pairs, equal priors | ours | R² with triples, equal priors | ours | worst of ours ", end=""
    )
    print("| correlation of pairs, equal priors | ours |\n" + "| --- " * 8 + "|")
    for size in SIZES:
        rows = [pair for pair in pairs if pair.masks == size]
        equal, ours = (np.array([getattr(row, key) for row in rows]) for key in ("equal", "ours"))
        both = np.stack([equal.mean(0), ours.mean(0)], axis=1).ravel()
        cells = [*both[:4], ours[:, 1].min(), *both[4:]]
        print(f"| {size} | " + " | ".join(f"{c:.3f}" for c in cells) + " |")
    print_calibration(calibration((pair.estimated, pair.found) for pair in pairs))


def compare(classifier: Classifier, square: np.ndarray, number: int) -> list[Pair]:
    """Two explanations of a photograph at each of :data:`SIZES`; ``number`` seeds their masks."""
    label = int(classifier.probabilities(square[None])[0].argmax())
    segments = regions_of(square)
    regions = int(segments.max()) + 1
    sample = classifier.sampler(square, skin_surface(square), segments)
    runs = []
    for seed in range(2):
        masks = next(blocks(regions, np.random.default_rng([number, seed]), max(SIZES)))
        answers = [sample(masks[start : start + BATCH]) for start in range(0, len(masks), BATCH)]
        runs.append((masks, log_odds(np.concatenate(answers))[:, [label]]))
    return [_pair(runs, segments, size) for size in SIZES]


def _pair(runs: list[tuple[np.ndarray, np.ndarray]], segments: np.ndarray, size: int) -> Pair:
    fits = [fit(masks[:size], outcomes[:size], design_effect(masks[:size])) for masks, outcomes in runs]
    difference = fits[0].weights[0] - fits[1].weights[0]
    expected = sum(f.standard_errors(0) ** 2 for f in fits)
    return Pair(
        masks=size,
        estimated=float(np.mean([f.stability(0) for f in fits])),
        found=jaccard([Explained(f.weights[0], segments, size, 0.0) for f in fits]),
        variance=float(np.mean(difference**2) / np.mean(expected)),
        ours=_higher_order(runs, size, SURPRISE),
        equal=_higher_order(runs, size, EQUAL),
    )


def _higher_order(runs: list[tuple[np.ndarray, np.ndarray]], size: int, surprise: float) -> HigherOrder:
    found = [fit_interactions(masks[:size], outcomes[:size, 0], surprise) for masks, outcomes in runs]
    upper = np.triu_indices(len(found[0].pairs), 1)
    first, second = (f.pairs[upper] for f in found)
    return HigherOrder(
        r2_with_pairs=float(np.mean([f.r2 for f in found])),
        r2_with_triples=float(np.mean([f.r2_with_triples for f in found])),
        correlation=float(np.corrcoef(first, second)[0, 1]),
    )


if __name__ == "__main__":
    main()
