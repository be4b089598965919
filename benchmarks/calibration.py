"""Calibration of the stability that explanations report, against the agreement of two designs.

    .venv/bin/python benchmarks/calibration.py DATA                  DATA has the layout of HAM10000; takes 20 minutes
    .venv/bin/python benchmarks/calibration.py --photos 10 DATA

Each validation photograph is explained twice, with different masks. For each number of masks, one table has the
stability that both explanations estimate and the Jaccard index that they have; and the squared difference of their
weights over the sum of the squared standard errors, which is 1 for honest errors. The other table groups all pairs by
their estimate.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.explainers import Explained
from benchmarks.explanation_metrics import calibration, jaccard, print_calibration
from benchmarks.method import load_photographs
from handler.checkpoint import Checkpoint
from handler.engines import Classifier
from handler.explainer import BATCH, design_effect
from handler.interactions import fit_interactions
from handler.masks import blocks
from handler.regions import regions_of, skin_surface
from handler.surrogate import fit, log_odds

ROOT = Path(__file__).resolve().parent.parent
SIZES = (128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True)
class Pair:
    """Two explanations of a photograph from as many masks each.

    Attributes:
        masks: their number.
        estimated: mean of the stabilities that both estimate.
        found: their Jaccard index.
        variance: mean squared difference of the weights over the mean of the summed squared standard errors.
        r2: mean R² with pairs of regions, on samples left out.
    """

    masks: int
    estimated: float
    found: float
    variance: float
    r2: float


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
    print("| masks | stability estimated | found | squared difference ÷ expected | R² with pairs | worst |")
    print("| --- " * 6 + "|")
    for size in SIZES:
        rows = [pair for pair in pairs if pair.masks == size]
        cells = [np.mean([getattr(row, key) for row in rows]) for key in ("estimated", "found", "variance", "r2")]
        print(f"| {size} | " + " | ".join(f"{c:.3f}" for c in [*cells, min(row.r2 for row in rows)]) + " |")
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
        r2=float(np.mean([fit_interactions(masks[:size], outcomes[:size, 0]).r2 for masks, outcomes in runs])),
    )


if __name__ == "__main__":
    main()
