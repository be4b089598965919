"""Quality and speed of our explanations beside the lime package and Captum's Lime, on the same model and photographs.

    .venv/bin/python benchmarks/explain.py DATA            prints tables, writes benchmarks/explain.json
    .venv/bin/python benchmarks/explain.py --photos 2 --json - DATA   a quick look; the JSON to stdout

DATA has the layout of HAM10000, with HAM10000_segmentations/. Photographs are test images, classes in turn. Speed is
measured first, with lime and Captum around the plain float32 torch model. Everything else is computed with the
service's 8-bit engine for all three alike. An explanation counts as converged after CONVERGED_SAMPLES samples of its
own method. Seven photographs take about 20 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from api.classes import CLASSES
from api.photograph import open_photograph
from benchmarks import explainers
from benchmarks.explainers import PLAIN_SAMPLES, UNREACHABLE, Explained, PlainExplainer, Probabilities
from benchmarks.explanation_metrics import (
    deletion_and_insertion,
    distance,
    jaccard,
    overlap,
    randomised_weights,
)
from benchmarks.speed import median_seconds
from evaluate.dataset import Example, find_examples
from handler.checkpoint import Checkpoint
from handler.engines import Classifier
from handler.explainer import PRECISIONS, MakeSampler, Precision, painting
from handler.images import network_square
from handler.network import PixelsToProbabilities

ROOT = Path(__file__).resolve().parent.parent

RESAMPLES = 2000
CONVERGED_SAMPLES = 4096
CONVERGED_SEED = 10**6
SEEDS = {"Faible": 4, "Moyenne": 3, "Importante": 2}
PLAIN_SEEDS = 3
TIMED_PHOTOS = 3
BATCHES = (8, 16, 32, 64)
BUDGETS = (32, 64, 96, 128, 192, 256, 384, 512)
RANDOMISED_SAMPLES = 128

TITLES = {
    "seconds": "seconds",
    "samples": "samples",
    "r2": "R² of the linear local model",
    "r2_with_pairs": "R² with pairs of regions, on samples left out",
    "worst_r2_with_pairs": "… of the worst photograph",
    "jaccard": "Jaccard of the top 5 regions between seeds",
    "estimated": "… as the explanation itself estimates it",
    "distance": "distance to the converged explanation",
    "deletion": "deletion AUC (lower is better)",
    "insertion": "insertion AUC (higher is better)",
    "overlap": "share of the positive weight on the lesion",
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Quality and speed of explanations, beside lime and Captum.")
    parser.add_argument("root", type=Path, help="HAM10000, with its segmentations")
    parser.add_argument("--photos", type=int, default=7, help="how many test photographs (default: 7)")
    parser.add_argument("--json", default=str(ROOT / "benchmarks/explain.json"), help="output file; - is stdout")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    checkpoint = Checkpoint.load(ROOT / "model_store/model_mlbio.pth")
    classifier, plain = Classifier(checkpoint), Plain(checkpoint).eval()
    photographs, lesions = load_photographs(arguments.root, arguments.photos)
    labels = classifier.probabilities(photographs).argmax(axis=1)

    speed, plain_seconds = measure_speed(classifier, plain, photographs, labels)
    found, curve = measure_quality(classifier, photographs, lesions, labels, plain_seconds)
    quality = {name: means(rows) for name, rows in found.items()}
    speed["seconds to the distance of lime"] = same_distance(curve, quality["lime"])
    figures = {
        "photographs": len(photographs),
        "speed": speed,
        "quality": quality,
        "intervals": {name: intervals(rows) for name, rows in found.items()},
        "distance by samples": curve,
        "8-bit against float32": agreement(classifier, photographs, labels),
        "randomised weights, rank correlation": sanity(checkpoint, photographs, labels),
    }
    text = json.dumps(figures, indent=1) + "\n"
    if arguments.json == "-":
        sys.stdout.write(text)
    else:
        Path(arguments.json).write_text(text)
    report(figures)


class Plain(nn.Module):
    """From pixels (N, 3, H, W), 0–255, to probabilities (N, classes), by torch in float32."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.model = PixelsToProbabilities(checkpoint)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model(pixels.permute(0, 2, 3, 1))[0]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        return self(torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)).numpy()


def load_photographs(root: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Squares (N, 224, 224, 3) of test photographs, classes in turn, and the masks of their lesions (N, 224, 224)."""
    examples = find_examples(root, "test")
    order = np.random.default_rng(0).permutation(len(examples))
    by_class = [[examples[i] for i in order if examples[i].label == label] for label in range(len(CLASSES))]
    chosen = [by_class[i % len(by_class)][i // len(by_class)] for i in range(count)]
    squares = [network_square(open_photograph(e.path.read_bytes())) for e in chosen]
    return np.stack(squares), np.stack([lesion_of(root, e) for e in chosen])


def lesion_of(root: Path, example: Example) -> np.ndarray:
    """Mask of the lesion in the network's square of a photograph, boolean (224, 224)."""
    mask = Image.open(root / f"HAM10000_segmentations/{example.path.stem}_segmentation.png")
    return network_square(mask.convert("RGB"))[..., 0] > 127


def measure_speed(
    classifier: Classifier, plain: Plain, photographs: np.ndarray, labels: np.ndarray
) -> tuple[dict, dict[str, float]]:
    """Perturbations per second beside the engine's images per second; also the seconds of lime's and Captum's runs."""
    raw = {}
    for batch in BATCHES:
        images = np.resize(photographs, (batch, *photographs.shape[1:]))
        raw[batch] = batch / median_seconds(partial(classifier.sample_probabilities, images), repeats=9)
    timed = list(zip(photographs, labels, strict=True))[:TIMED_PHOTOS]
    thousand = Precision(PLAIN_SAMPLES, UNREACHABLE)
    mine = [
        explainers.ours(classifier.sampler, square, int(label), thousand, seed).seconds
        for square, label in timed
        for seed in range(3)
    ]
    plain_seconds = {
        name: float(np.median([explain(plain.probabilities, s, int(c), PLAIN_SAMPLES, 0).seconds for s, c in timed]))
        for name, explain in (("lime", explainers.lime), ("captum", explainers.captum))
    }
    seconds = float(np.median(mine))
    return {
        "perturbations": PLAIN_SAMPLES,
        "seconds": {"ours": seconds} | plain_seconds,
        "raw images/s": raw,
        "perturbations/s": PLAIN_SAMPLES / seconds,
    }, plain_seconds


def measure_quality(
    classifier: Classifier,
    photographs: np.ndarray,
    lesions: np.ndarray,
    labels: np.ndarray,
    plain_seconds: dict[str, float],
) -> tuple[dict[str, list[dict]], list[dict]]:
    """Each method's figures of every photograph, and our mean distance to the converged explanation by samples."""
    engine = classifier.sample_probabilities
    methods = {
        "lime": (partial(_plain, explainers.lime, engine), PLAIN_SEEDS),
        "captum": (partial(_plain, explainers.captum, engine), PLAIN_SEEDS),
    } | {name: (partial(_ours, classifier.sampler, PRECISIONS[name]), SEEDS[name]) for name in PRECISIONS}
    found: dict[str, list[dict]] = {name: [] for name in [*methods, "random regions"]}
    curve: dict[int, list[tuple[float, float]]] = {budget: [] for budget in BUDGETS}
    for number, (square, lesion, label) in enumerate(zip(photographs, lesions, map(int, labels), strict=True)):
        started = time.perf_counter()
        converged = {
            "lime": explainers.lime(engine, square, label, CONVERGED_SAMPLES, CONVERGED_SEED),
            "captum": explainers.captum(engine, square, label, CONVERGED_SAMPLES, CONVERGED_SEED),
        }
        settled = explainers.ours(
            classifier.sampler, square, label, Precision(CONVERGED_SAMPLES, UNREACHABLE), CONVERGED_SEED
        )
        for name, (explain, seeds) in methods.items():
            runs = [explain(square, label, seed) for seed in range(seeds)]
            row = _row(runs, converged.get(name, settled)) | _faithfulness(classifier, square, label, lesion, runs[0])
            if name in plain_seconds:
                row["seconds"] = plain_seconds[name]
            found[name].append(row)
        chance = Explained(np.random.default_rng(number).normal(size=len(settled.weights)), settled.segments, 0, 0.0)
        found["random regions"].append(_faithfulness(classifier, square, label, lesion, chance))
        for budget in BUDGETS:
            for seed in range(2):
                run = explainers.ours(classifier.sampler, square, label, Precision(budget, UNREACHABLE), seed)
                curve[budget].append((run.seconds, distance(run, settled)))
        print(f"{number + 1} of {len(photographs)}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return found, [
        {"samples": b, "seconds": float(np.median([s for s, _ in c])), "distance": float(np.mean([d for _, d in c]))}
        for b, c in curve.items()
    ]


def _plain(explain: PlainExplainer, engine: Probabilities, square: np.ndarray, label: int, seed: int) -> Explained:
    return explain(engine, square, label, PLAIN_SAMPLES, seed)


def _ours(sampler: MakeSampler, precision: Precision, square: np.ndarray, label: int, seed: int) -> Explained:
    return explainers.ours(sampler, square, label, precision, seed)


def _row(runs: list[Explained], converged: Explained) -> dict[str, float]:
    row = {
        "seconds": float(np.mean([run.seconds for run in runs])),
        "samples": float(np.mean([run.samples for run in runs])),
        "jaccard": jaccard(runs),
        "distance": float(np.mean([distance(run, converged) for run in runs])),
    }
    if runs[0].r2 is not None:
        row["r2"] = float(np.mean([run.r2 for run in runs]))
    if runs[0].r2_with_pairs is not None:
        row["r2_with_pairs"] = float(np.mean([run.r2_with_pairs for run in runs]))
    if runs[0].stability is not None:
        row["estimated"] = float(np.mean([run.stability for run in runs]))
    return row


def _faithfulness(
    classifier: Classifier, square: np.ndarray, label: int, lesion: np.ndarray, run: Explained
) -> dict[str, float]:
    deletion, insertion = deletion_and_insertion(classifier.probabilities, square, label, run)
    return {"deletion": deletion, "insertion": insertion, "overlap": overlap(run, lesion)}


def means(rows: list[dict]) -> dict[str, float]:
    """Means over the photographs, and the worst fit."""
    row = {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}
    if "r2_with_pairs" in row:
        row["worst_r2_with_pairs"] = min(row["r2_with_pairs"] for row in rows)
    return row


def intervals(rows: list[dict]) -> dict[str, list[float]]:
    """95 % intervals of the means, by a percentile bootstrap over the photographs."""
    samples = np.random.default_rng(0).integers(len(rows), size=(RESAMPLES, len(rows)))
    values = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return {key: np.nanpercentile(np.nanmean(v[samples], axis=1), [2.5, 97.5]).tolist() for key, v in values.items()}


def same_distance(curve: list[dict], lime: dict[str, float]) -> dict[str, float]:
    """Seconds in which we get as close to the converged explanation as lime does, with the fewest samples measured."""
    reached = next((point for point in curve if point["distance"] <= lime["distance"]), curve[-1])
    return {"lime": lime["seconds"], "ours": reached["seconds"], "samples": reached["samples"]}


def agreement(classifier: Classifier, photographs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Mean agreement of explanations by the 8-bit engine with those by float32, from the same masks."""
    distances, jaccards, correlations = [], [], []
    for square, label in zip(photographs, map(int, labels), strict=True):
        one, two = (
            explainers.ours(engine, square, label, Precision(512, UNREACHABLE), 0)
            for engine in (classifier.sampler, painting(classifier.probabilities))
        )
        distances.append(distance(one, two))
        jaccards.append(jaccard([one, two]))
        correlations.append(np.corrcoef(one.weights, two.weights)[0, 1])
    return {
        "distance": float(np.mean(distances)),
        "jaccard": float(np.mean(jaccards)),
        "correlation": float(np.mean(correlations)),
    }


def sanity(checkpoint: Checkpoint, photographs: np.ndarray, labels: np.ndarray) -> float:
    """Mean rank correlation of explanations with those of a network with random weights."""

    def explain(probabilities: Probabilities, square: np.ndarray, label: int) -> Explained:
        return explainers.ours(painting(probabilities), square, label, Precision(RANDOMISED_SAMPLES, UNREACHABLE), 0)

    return float(np.mean(randomised_weights(Plain(checkpoint), photographs, labels, explain)))


def report(figures: dict) -> None:
    """Print the tables."""
    quality, speed = figures["quality"], figures["speed"]
    print(f"\n{figures['photographs']} test photographs, means with 95 % intervals\n")
    print("| | " + " | ".join(quality) + " |\n" + "| --- " * (len(quality) + 1) + "|")
    for key, title in TITLES.items():
        form = "{:.0f}" if key == "samples" else "{:.3f}"
        cells = [
            _cell(form, row[key], figures["intervals"][name].get(key)) if key in row else ""
            for name, row in quality.items()
        ]
        print(f"| {title} | " + " | ".join(cells) + " |")
    seconds, best = speed["seconds"], max(speed["raw images/s"].values())
    reach = speed["seconds to the distance of lime"]
    print("\n| | lime | ours | ratio |\n| --- | --- | --- | --- |")
    for title, theirs, mine in (
        (f"seconds for {speed['perturbations']} perturbations", seconds["lime"], seconds["ours"]),
        ("… beside Captum", seconds["captum"], seconds["ours"]),
        (f"seconds to lime's distance (ours: {reach['samples']} samples)", reach["lime"], reach["ours"]),
    ):
        print(f"| {title} | {theirs:.2f} | {mine:.2f} | {theirs / mine:.1f} |")
    rate = speed["perturbations/s"]
    print(f"| perturbations/s, beside the engine's raw images/s | {best:.0f} | {rate:.0f} | {rate / best:.2f} |")
    same = figures["8-bit against float32"]
    print(
        f"\n8-bit against float32, same masks: correlation {same['correlation']:.3f}, Jaccard {same['jaccard']:.3f}, "
        f"distance {same['distance']:.3f}"
    )
    print(f"Randomised weights: rank correlation {figures['randomised weights, rank correlation']:.3f}")


def _cell(form: str, value: float, interval: list[float] | None) -> str:
    return form.format(value) + (f" ({form.format(interval[0])}–{form.format(interval[1])})" if interval else "")


if __name__ == "__main__":
    main()
