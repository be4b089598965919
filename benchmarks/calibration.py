"""Calibration of the stability that explanations report, against the agreement of two designs.

    .venv/bin/python benchmarks/calibration.py DATA                  DATA has the layout of HAM10000; takes 25 minutes
    .venv/bin/python benchmarks/calibration.py --photos 10 DATA

Each validation photograph is explained twice, with different masks. For each number of masks, one table has the
stability that both explanations estimate and the Jaccard index that they have; and the squared difference of their
weights over the sum of the squared standard errors, which is 1 for honest errors. Beside them are the Jaccard index and
the squared difference for designs whose columns are dealt out at random, not by the closeness of the regions. Another
table has the fit of the models of higher order, and the correlation of the interactions of pairs that both explanations
find, beside those of a model that expects as much of every interaction. The last groups all explanations by their
estimate.
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
from handler.engines.classifier import Classifier
from handler.explain.lime.explainer import BATCH, design_effect
from handler.explain.lime.interactions import MIN_IMPORTANCE, fit_interactions
from handler.explain.lime.masks import blocks
from handler.explain.lime.regions import closeness, regions_of, skin_surface
from handler.explain.lime.surrogate import Fit, fit, log_odds
from handler.model.checkpoint import Checkpoint

ROOT = Path(__file__).resolve().parent.parent
SIZES = (128, 192, 256, 384, 512, 768, 1024)

RANDOM_MASKS = 512
"""The most masks of designs with columns at random."""

DIFFERENCES = ("difference", "random_difference")

EQUAL = 1e6
"""The ``min_importance`` of :func:`handler.explain.lime.interactions.fit_interactions` that makes all regions equal."""


Run = tuple[np.ndarray, np.ndarray]
"""Masks (N, regions) and log-odds (N, 1)."""


class HigherOrder(NamedTuple):
    """Means over two explanations, on samples left out, and how well their interactions of pairs correlate."""

    r2_with_pairs: float
    correlation: float


@dataclass(frozen=True)
class Pair:
    """Two explanations of a photograph from as many masks each.

    Attributes:
        masks: their number.
        estimated: mean of the stabilities that both estimate.
        found: their Jaccard index.
        difference: mean squared difference of the weights.
        variance: the same over the mean of the summed squared standard errors.
        random_found: Jaccard index of explanations whose columns are dealt out at random; as the next, NaN for more
            than :data:`RANDOM_MASKS`.
        random_difference: mean squared difference of their weights.
        ours: figures of the models of higher order.
        equal: likewise, with the same prior deviation for every interaction.
    """

    masks: int
    estimated: float
    found: float
    difference: float
    variance: float
    random_found: float
    random_difference: float
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
    print("| masks | stability estimated | found | squared difference ÷ expected ", end="")
    print("| found, columns at random | squared difference ÷ that with columns at random |\n" + "| --- " * 6 + "|")
    for size in SIZES:
        rows = [pair for pair in pairs if pair.masks == size]
        cells = [np.mean([getattr(row, key) for row in rows]) for key in ("estimated", "found", "variance")]
        if size <= RANDOM_MASKS:
            difference, at_random = (sum(getattr(row, key) for row in rows) for key in DIFFERENCES)
            cells += [np.mean([row.random_found for row in rows]), difference / at_random]
        print(f"| {size} | " + " | ".join([*(f"{c:.3f}" for c in cells), "", ""][:5]) + " |")
    print(
        "\n| masks | R² with pairs, equal priors | ours | correlation of pairs, equal priors | ours |\n"
        + "| --- " * 5
        + "|"
    )
    for size in SIZES:
        rows = [pair for pair in pairs if pair.masks == size]
        equal, ours = (np.array([getattr(row, key) for row in rows]) for key in ("equal", "ours"))
        both = np.stack([equal.mean(0), ours.mean(0)], axis=1).ravel()
        print(f"| {size} | " + " | ".join(f"{figure:.3f}" for figure in both) + " |")
    print_calibration(calibration((pair.estimated, pair.found) for pair in pairs))


def compare(classifier: Classifier, square: np.ndarray, number: int) -> list[Pair]:
    """Two explanations of a photograph at each of :data:`SIZES`; ``number`` seeds their masks."""
    label = int(classifier.probabilities(square[None])[0].argmax())
    segments = regions_of(square)
    sample = classifier.sampler(square, skin_surface(square), segments)

    def run(seed: int, count: int, close: np.ndarray | None) -> Run:
        masks = next(blocks(int(segments.max()) + 1, np.random.default_rng([number, seed]), count, close))
        answers = [sample(masks[start : start + BATCH]) for start in range(0, len(masks), BATCH)]
        return masks, log_odds(np.concatenate(answers))[:, [label]]

    close = closeness(segments)
    runs = [run(seed, max(SIZES), close) for seed in range(2)]
    at_random = [run(seed, RANDOM_MASKS, None) for seed in range(2)]
    return [_pair(runs, at_random, segments, close, size) for size in SIZES]


def _pair(runs: list[Run], at_random: list[Run], segments: np.ndarray, close: np.ndarray, size: int) -> Pair:
    fits = [fit(masks[:size], outcomes[:size], design_effect(masks[:size], close)) for masks, outcomes in runs]
    others = [fit(masks[:size], outcomes[:size]) for masks, outcomes in at_random if size <= RANDOM_MASKS]
    expected = sum(f.standard_errors(0) ** 2 for f in fits)
    found, difference = _agreement(fits, segments)
    random_found, random_difference = _agreement(others, segments) if others else (np.nan, np.nan)
    return Pair(
        masks=size,
        estimated=float(np.mean([f.stability(0) for f in fits])),
        found=found,
        difference=difference,
        variance=float(difference / np.mean(expected)),
        random_found=random_found,
        random_difference=random_difference,
        ours=_higher_order(runs, size, close, MIN_IMPORTANCE),
        equal=_higher_order(runs, size, None, EQUAL),
    )


def _agreement(fits: list[Fit], segments: np.ndarray) -> tuple[float, float]:
    """Jaccard index and mean squared difference of the weights of two explanations."""
    found = jaccard([Explained(f.weights[0], segments, 0, 0.0) for f in fits])
    return found, float(np.mean((fits[0].weights[0] - fits[1].weights[0]) ** 2))


def _higher_order(runs: list[Run], size: int, close: np.ndarray | None, min_importance: float) -> HigherOrder:
    found = [fit_interactions(masks[:size], outcomes[:size, 0], close, min_importance) for masks, outcomes in runs]
    upper = np.triu_indices(len(found[0].pairs), 1)
    first, second = (f.pairs[upper] for f in found)
    return HigherOrder(
        r2_with_pairs=float(np.mean([f.r2 for f in found])),
        correlation=float(np.corrcoef(first, second)[0, 1]),
    )


if __name__ == "__main__":
    main()
