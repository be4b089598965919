"""Measurements and tables of :mod:`benchmarks.explain`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import nn

from api.classes import CLASSES
from benchmarks.common import CHECKPOINT, print_header, print_row
from benchmarks.explanation_metrics import (
    blurred,
    deletion_and_insertion,
    distance,
    distance_to_converged,
    jaccard,
    overlap,
    with_random_weights,
)
from benchmarks.explanations import LIME_SAMPLES, UNREACHABLE, Explained, Probabilities, cached, lime, ours
from evaluate.dataset import Example, find_examples
from handler.engines.classifier import Classifier
from handler.explain.lime.explainer import BUDGETS, Budget, painting
from handler.explain.lime.regions import skin_surface
from handler.model.checkpoint import Checkpoint
from handler.model.images import network_square, read_square
from handler.model.inference import PixelsToProbabilities

PAIRED_PHOTOS = 20
"""Photographs that are explained twice."""

IMPORTANTE_PHOTOS = 7
"""Photographs for the precision that takes most of the time."""

TORCH_PHOTOS = 7
"""Photographs for the comparisons with float32 and with random weights, which need torch."""

TIMED_PHOTOS = 3
SAMPLE_COUNTS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
STABILITY_BINS = (0.0, 0.6, 0.7, 0.8, 0.9, 0.95, 1.01)
RESAMPLES = 2000

TITLES = {
    "samples": "samples",
    "reached": "share that reaches its target",
    "r2": "R² of the linear model",
    "r2_with_pairs": "R² with pairs of regions, on samples left out",
    "jaccard": "Jaccard of the top 5 regions between seeds",
    "stability": "… as predicted by `stability`",
    "distance": "distance to the converged explanation",
    "deletion": "deletion AUC, to a blurred photograph (lower is better)",
    "insertion": "insertion AUC, into a blurred photograph (higher is better)",
    "deletion_to_skin": "deletion AUC, to plain skin",
    "insertion_into_skin": "insertion AUC, into plain skin",
    "overlap": "share of the positive weight on the lesion",
}

FAITHFULNESS = ["deletion", "insertion", "deletion_to_skin", "insertion_into_skin", "overlap"]
"""Metrics that are compared with lime's for each photograph."""


def measure_and_print(root: Path, count: int) -> None:
    """Explain ``count`` test photographs of ``root``, and print all tables."""
    torch.set_grad_enabled(False)
    checkpoint = Checkpoint.load(CHECKPOINT)
    classifier, network = Classifier(checkpoint), PixelsToProbabilities(checkpoint).eval()
    photographs, lesions = load_photographs(root, count)
    labels = [int(label) for label in classifier.probabilities(photographs).argmax(axis=1)]

    quality, by_budget = measure_quality(classifier, photographs, lesions, labels)
    print(f"{count} test photographs, means with 95 % intervals")
    print_quality(quality)
    print_by_budget(by_budget)
    lime_distance = quality["lime"]["distance"].mean()
    enough = next((n for n, rows in by_budget.items() if rows["distance"].mean() <= lime_distance), max(SAMPLE_COUNTS))
    explained = list(zip(photographs, labels, strict=True))
    print_engines(classifier, network, explained[:TORCH_PHOTOS])
    print_speed(classifier, network, explained[:TIMED_PHOTOS], enough)


def load_photographs(root: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Squares (N, 224, 224, 3) of test photographs, cycling through the classes, and lesion masks (N, 224, 224)."""
    examples = find_examples(root, "test")
    order = np.random.default_rng(0).permutation(len(examples))
    by_class = [[examples[i] for i in order if examples[i].label == label] for label in range(len(CLASSES))]
    chosen = [by_class[i % len(by_class)][i // len(by_class)] for i in range(count)]
    squares = [read_square(example.path.read_bytes()) for example in chosen]
    return np.stack(squares), np.stack([lesion_of(root, example) for example in chosen])


def lesion_of(root: Path, example: Example) -> np.ndarray:
    """Mask of the lesion in the network's square of a photograph, boolean (224, 224)."""
    mask = Image.open(root / f"HAM10000_segmentations/{example.path.stem}_segmentation.png")
    return network_square(mask.convert("RGB"))[..., 0] > 127


def measure_quality(
    classifier: Classifier, photographs: np.ndarray, lesions: np.ndarray, labels: list[int]
) -> tuple[dict[str, pd.DataFrame], dict[int, pd.DataFrame]]:
    """Metrics of every photograph, by method, and of our method by number of samples."""
    found: dict[str, list[dict]] = {name: [] for name in ["lime", *BUDGETS, "random weights"]}
    by_budget: dict[int, list[dict]] = {samples: [] for samples in SAMPLE_COUNTS}
    for i, (square, lesion, label) in enumerate(zip(photographs, lesions, labels, strict=True)):
        sampler = cached(classifier.sampler)
        methods = {"lime": partial(lime, classifier.sample_probabilities, square, label)}
        for precision, budget in BUDGETS.items():
            if precision != "Importante" or i < IMPORTANTE_PHOTOS:
                methods[precision] = partial(ours, sampler, square, label, budget)
        for name, explain in methods.items():
            runs = [explain(seed) for seed in range(2 if i < PAIRED_PHOTOS else 1)]
            found[name].append(agreement(runs) | faithfulness(classifier, square, label, lesion, runs[0]))
        chance = Explained(np.random.default_rng(i).normal(size=len(runs[0].weights)), runs[0].segments)
        found["random weights"].append(faithfulness(classifier, square, label, lesion, chance))
        for samples, rows in by_budget.items() if i < PAIRED_PHOTOS else ():
            budget = Budget(samples, UNREACHABLE)
            rows.append(agreement([ours(sampler, square, label, budget, seed) for seed in range(2)]))
        print(f"{i + 1} of {len(photographs)}", file=sys.stderr, flush=True)
    tables = {name: pd.DataFrame(rows) for name, rows in found.items()}
    return tables, {budget: pd.DataFrame(rows) for budget, rows in by_budget.items()}


def agreement(runs: list[Explained]) -> dict[str, float]:
    """Metrics of one or two explanations; those that compare two are NaN for one."""
    row = {
        key: float(np.mean([getattr(run, key) for run in runs]))
        for key in ("samples", "reached", "r2", "r2_with_pairs", "stability")
    }
    if len(runs) == 1:
        return row | dict.fromkeys(("jaccard", "distance", "squared_difference", "variance"), np.nan)
    first, second = runs
    return row | {
        "jaccard": jaccard(first, second),
        "distance": distance_to_converged(first, second),
        "squared_difference": float(((first.weights - second.weights) ** 2).sum()),
        "variance": first.variance + second.variance,
    }


def faithfulness(
    classifier: Classifier, square: np.ndarray, label: int, lesion: np.ndarray, run: Explained
) -> dict[str, float]:
    """The :data:`FAITHFULNESS`, with two backgrounds: neither method's own way of hiding regions is favoured."""
    scores = [
        score
        for removed in (blurred(square), skin_surface(square))
        for score in deletion_and_insertion(classifier.probabilities, square, removed, label, run)
    ]
    return dict(zip(FAITHFULNESS, [*scores, overlap(run, lesion)], strict=True))


def mean_and_interval(values: pd.Series) -> tuple[float, float, float]:
    """The mean over photographs, NaN left out, and the ends of its 95 % interval, by a percentile bootstrap."""
    known = values.dropna().to_numpy(float)
    resamples = known[np.random.default_rng(0).integers(len(known), size=(RESAMPLES, len(known)))].mean(axis=1)
    low, high = np.percentile(resamples, [2.5, 97.5])
    return float(known.mean()), float(low), float(high)


def print_quality(quality: dict[str, pd.DataFrame]) -> None:
    """All methods, and the differences of ours from lime."""

    def cell(rows: pd.DataFrame, key: str) -> str:
        if key not in rows or rows[key].isna().all():
            return ""
        mean, low, high = mean_and_interval(rows[key])
        return f"{mean:.0f}" if key == "samples" else f"{mean:.3f} ({low:.2f}–{high:.2f})"

    print_header("", *quality)
    for key, title in TITLES.items():
        print_row(title, *(cell(rows, key) for rows in quality.values()))
        if key == "r2_with_pairs":
            worst = (rows[key].min() if key in rows else np.nan for rows in quality.values())
            print_row("… of the worst photograph", *("" if np.isnan(value) else f"{value:.3f}" for value in worst))
    print_header("ours − lime's, photograph by photograph", *BUDGETS)
    for key in FAITHFULNESS:
        differences = (quality[name][key] - quality["lime"][key] for name in BUDGETS)
        cells = ("{:+.3f} ({:+.3f} to {:+.3f})".format(*mean_and_interval(values)) for values in differences)
        print_row(TITLES[key], *cells)


def print_by_budget(by_budget: dict[int, pd.DataFrame]) -> None:
    """Fit, distance and calibration by number of samples, and the calibration of the stability."""
    columns = ("R² with pairs", "of the worst photograph", "distance", "stability", "Jaccard found")
    print_header("samples", *columns, "squared difference ÷ expected from the standard errors")
    for budget, rows in by_budget.items():
        figures = [rows["r2_with_pairs"].mean(), rows["r2_with_pairs"].min()]
        figures += [rows[key].mean() for key in ("distance", "stability", "jaccard")]
        figures.append((rows["squared_difference"] / rows["variance"]).mean())
        print_row(f"{budget:,}", *(f"{figure:.3f}" for figure in figures))
    pairs = pd.concat(by_budget.values())
    print_header("stability, from", "pairs", "mean", "Jaccard found")
    for group, rows in pairs.groupby(pd.cut(pairs["stability"], STABILITY_BINS, right=False), observed=True):
        print_row(f"{group.left:.2f}", str(len(rows)), *(f"{rows[key].mean():.3f}" for key in ("stability", "jaccard")))


def print_engines(classifier: Classifier, network: nn.Module, examples: list[tuple[np.ndarray, int]]) -> None:
    """Compare explanations in 8 bits with float32, and those of the network with those of random weights."""
    exact, randomised = (
        painting(torch_probabilities(network)),
        painting(torch_probabilities(with_random_weights(network))),
    )
    rows = []
    for square, label in examples:
        integers, floats = (
            ours(sampler, square, label, Budget(512, UNREACHABLE), 0) for sampler in (classifier.sampler, exact)
        )
        chance = ours(randomised, square, label, Budget(128, UNREACHABLE), 0)
        rows.append(
            {
                "correlation": np.corrcoef(integers.weights, floats.weights)[0, 1],
                "Jaccard": jaccard(integers, floats),
                "distance": distance(integers, floats),
                "rank correlation with random weights": spearmanr(floats.pixels(), chance.pixels(), axis=None)[0],
            }
        )
    print_header("8 bits compared with float32, same masks", "")
    for name, mean in pd.DataFrame(rows).mean().items():
        print_row(str(name), f"{mean:.3f}")


def print_speed(
    classifier: Classifier, network: nn.Module, examples: list[tuple[np.ndarray, int]], enough: int
) -> None:
    """Seconds of an explanation; with ``enough`` samples, ours is as near to the converged one as lime's."""

    def median(samples: int) -> float:
        budget = Budget(samples, UNREACHABLE)
        runs = [ours(classifier.sampler, square, label, budget, s) for square, label in examples for s in range(3)]
        return float(np.median([run.seconds for run in runs]))

    theirs = float(
        np.median([lime(torch_probabilities(network), square, label, 0).seconds for square, label in examples])
    )
    print_header("seconds", "lime around torch", "ours", "ratio")
    for title, samples in (
        (f"{LIME_SAMPLES:,} samples", LIME_SAMPLES),
        (f"lime's distance ({enough} of ours)", enough),
    ):
        mine = median(samples)
        print_row(title, f"{theirs:.2f}", f"{mine:.2f}", f"{theirs / mine:.1f}")


def torch_probabilities(network: nn.Module) -> Probabilities:
    """Probabilities by torch in float32."""
    return lambda images: network(torch.from_numpy(np.ascontiguousarray(images)))[0].numpy()
