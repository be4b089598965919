"""Quality and speed of our explanations beside the lime package, on the same model and photographs.

    .venv/bin/python benchmarks/explain.py DATA            prints tables, writes benchmarks/explain.json
    .venv/bin/python benchmarks/explain.py --speed DATA    only the speed, again, for the same file: takes ten minutes
    .venv/bin/python benchmarks/explain.py --photos 2 --json - DATA   a quick look; the JSON to stdout

DATA has the layout of HAM10000, with HAM10000_segmentations/. Photographs are test images, classes in turn. Quality is
computed with the service's 8-bit engine for both methods alike. The first PAIRED_PHOTOS are explained twice, with
different masks. Half of the squared difference of two independent results is the variance of either, so the distance to
the converged explanation is estimated as the distance of the two over the square root of two. Speed is measured last,
with lime and Captum around the plain float32 torch model. Fifty photographs take 40 minutes on two idle cores.
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
    calibration,
    deletion_and_insertion,
    distance,
    jaccard,
    overlap,
    print_calibration,
    randomised_weights,
    spread,
    without_details,
)
from benchmarks.speed import median_seconds
from evaluate.dataset import Example, find_examples
from handler.engines.classifier import Classifier
from handler.explain.lime.explainer import BUDGETS as PRECISIONS
from handler.explain.lime.explainer import Budget, painting
from handler.explain.lime.regions import skin_surface
from handler.model.checkpoint import Checkpoint
from handler.model.images import network_square
from handler.model.inference import PixelsToProbabilities

ROOT = Path(__file__).resolve().parent.parent

RESAMPLES = 2000
SEEDS = 2
PHOTOS = 50
TIMED_PHOTOS = 3
PAIRED_PHOTOS = 20
"""Photographs that are explained twice; the others serve the figures of one explanation."""

IMPORTANTE_PHOTOS = 7
"""For the precision that takes most of the time."""

CHECKED_PHOTOS = 7
"""For the comparisons with float32 and with random weights, which need torch."""

BATCHES = (8, 16, 32, 64)
BUDGETS = (32, 64, 96, 128, 192, 256, 384, 512, 1024)
RANDOMISED_SAMPLES = 128

WORST = ("r2_with_pairs",)
"""Figures that are also given for the worst photograph."""

TITLES = {
    "samples": "samples",
    "reached": "share of the explanations that reach their target",
    "r2": "R² of the linear local model",
    "r2_with_pairs": "R² with pairs of regions, on samples left out",
    "worst_r2_with_pairs": "… of the worst photograph",
    "jaccard": "Jaccard of the top 5 regions between seeds",
    "estimated": "… as the explanation itself estimates it",
    "distance": "distance to the converged explanation",
    "deletion": "deletion AUC, to a blurred photograph (lower is better)",
    "insertion": "insertion AUC, into a blurred photograph (higher is better)",
    "deletion_to_skin": "deletion AUC, to plain skin",
    "insertion_into_skin": "insertion AUC, into plain skin",
    "overlap": "share of the positive weight on the lesion",
}

FAITHFULNESS = ("deletion", "insertion", "deletion_to_skin", "insertion_into_skin", "overlap")
"""Figures that are compared with lime's photograph by photograph."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Quality and speed of explanations, beside lime and Captum.")
    parser.add_argument("root", type=Path, help="HAM10000, with its segmentations")
    parser.add_argument("--photos", type=int, default=PHOTOS, help="how many test photographs (default: %(default)s)")
    parser.add_argument("--speed", action="store_true", help="measure the speed alone; the file keeps all else")
    parser.add_argument("--json", default=str(ROOT / "benchmarks/explain.json"), help="output file; - is stdout")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    checkpoint = Checkpoint.load(ROOT / "model_store/model_mlbio.pth")
    classifier, plain = Classifier(checkpoint), Plain(checkpoint).eval()
    photographs, lesions = load_photographs(arguments.root, TIMED_PHOTOS if arguments.speed else arguments.photos)
    labels = classifier.probabilities(photographs).argmax(axis=1)

    if arguments.speed:
        figures = json.loads(Path(arguments.json).read_text())
    else:
        found, curve = measure_quality(classifier, photographs, lesions, labels)
        few = slice(CHECKED_PHOTOS)
        figures = {
            "photographs": len(photographs),
            "quality": {name: means(rows) for name, rows in found.items()},
            "intervals": {name: intervals(rows) for name, rows in found.items()},
            "differences from lime": {name: differences(found[name], found["lime"]) for name in PRECISIONS},
            "by samples": {samples: means(rows) for samples, rows in curve.items()},
            "calibration of the stability": calibration(
                (row["estimated"], row["jaccard"]) for rows in curve.values() for row in rows
            ),
            "8-bit against float32": agreement(classifier, photographs[few], labels[few]),
            "randomised weights, rank correlation": sanity(checkpoint, photographs[few], labels[few]),
        }
    goal = figures["quality"]["lime"]["distance"]
    enough = next((int(n) for n, row in figures["by samples"].items() if row["distance"] <= goal), max(BUDGETS))
    figures["speed"] = measure_speed(classifier, plain, photographs, labels, enough)
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
    classifier: Classifier, plain: Plain, photographs: np.ndarray, labels: np.ndarray, enough: int
) -> dict:
    """Perturbations per second beside the engine's images per second, and seconds of ours, lime's and Captum's runs.

    ``enough`` is the number of samples that take us as near to the converged explanation as lime.
    """
    raw = {}
    for batch in BATCHES:
        images = np.resize(photographs, (batch, *photographs.shape[1:]))
        raw[batch] = batch / median_seconds(partial(classifier.sample_probabilities, images), repeats=9)
    timed = list(zip(photographs, map(int, labels), strict=True))[:TIMED_PHOTOS]

    def ours(samples: int) -> float:
        precision = Budget(samples, UNREACHABLE)
        runs = [explainers.ours(classifier.sampler, s, c, precision, seed) for s, c in timed for seed in range(3)]
        return float(np.median([run.seconds for run in runs]))

    def theirs(explain: PlainExplainer) -> float:
        return float(np.median([explain(plain.probabilities, s, c, PLAIN_SAMPLES, 0).seconds for s, c in timed]))

    seconds = {"ours": ours(PLAIN_SAMPLES), "lime": theirs(explainers.lime), "captum": theirs(explainers.captum)}
    return {
        "perturbations": PLAIN_SAMPLES,
        "seconds": seconds,
        "raw images/s": raw,
        "perturbations/s": PLAIN_SAMPLES / seconds["ours"],
        "to the distance of lime": {"samples": enough, "lime": seconds["lime"], "ours": ours(enough)},
    }


def measure_quality(
    classifier: Classifier, photographs: np.ndarray, lesions: np.ndarray, labels: np.ndarray
) -> tuple[dict[str, list[dict]], dict[int, list[dict]]]:
    """The figures of every photograph, by method, and ours by number of samples."""
    found: dict[str, list[dict]] = {name: [] for name in ["lime", *PRECISIONS, "random regions"]}
    curve: dict[int, list[dict]] = {budget: [] for budget in BUDGETS}
    for number, (square, lesion, label) in enumerate(zip(photographs, lesions, map(int, labels), strict=True)):
        started = time.perf_counter()
        sampler = explainers.recorded(classifier.sampler)
        methods = {"lime": partial(explainers.lime, classifier.sample_probabilities, square, label, PLAIN_SAMPLES)} | {
            name: partial(explainers.ours, sampler, square, label, precision) for name, precision in PRECISIONS.items()
        }
        if number >= IMPORTANTE_PHOTOS:
            del methods["Importante"]
        for name, explain in methods.items():
            runs = [explain(seed) for seed in range(SEEDS if number < PAIRED_PHOTOS else 1)]
            found[name].append(_row(runs) | _faithfulness(classifier, square, label, lesion, runs[0]))
        regions = len(runs[0].weights)
        chance = Explained(np.random.default_rng(number).normal(size=regions), runs[0].segments, 0, 0.0)
        found["random regions"].append(_faithfulness(classifier, square, label, lesion, chance))
        for budget, rows in curve.items() if number < PAIRED_PHOTOS else ():
            precision = Budget(budget, UNREACHABLE)
            rows.append(_row([explainers.ours(sampler, square, label, precision, seed) for seed in range(SEEDS)]))
        print(f"{number + 1} of {len(photographs)}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return found, curve


def _row(runs: list[Explained]) -> dict[str, float]:
    row = {
        "samples": float(np.mean([run.samples for run in runs])),
        "jaccard": jaccard(runs) if len(runs) == SEEDS else float("nan"),
        "distance": spread(runs) if len(runs) == SEEDS else float("nan"),
    }
    for key, attribute in (
        ("r2", "r2"),
        ("r2_with_pairs", "r2_with_pairs"),
        ("estimated", "stability"),
        ("reached", "reached"),
    ):
        values = [getattr(run, attribute) for run in runs]
        if None not in values:
            row[key] = float(np.mean(values))
    return row


def _faithfulness(
    classifier: Classifier, square: np.ndarray, label: int, lesion: np.ndarray, run: Explained
) -> dict[str, float]:
    """The :data:`FAITHFULNESS`. lime hides a region by its mean colour, and we by plain skin: hence two backgrounds."""
    scores = [
        score
        for removed in (without_details(square), skin_surface(square))
        for score in deletion_and_insertion(classifier.probabilities, square, removed, label, run)
    ]
    return dict(zip(FAITHFULNESS, [*scores, overlap(run, lesion)], strict=True))


def means(rows: list[dict]) -> dict[str, float]:
    """Means over the photographs, and the worst fits."""
    worst = {f"worst_{key}": min(row[key] for row in rows) for key in WORST if key in rows[0]}
    return {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]} | worst


def intervals(rows: list[dict]) -> dict[str, list[float]]:
    """95 % intervals of the means, by a percentile bootstrap over the photographs."""
    samples = np.random.default_rng(0).integers(len(rows), size=(RESAMPLES, len(rows)))
    values = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return {key: np.nanpercentile(np.nanmean(v[samples], axis=1), [2.5, 97.5]).tolist() for key, v in values.items()}


def differences(rows: list[dict], others: list[dict]) -> dict[str, list[float]]:
    """Mean of ``rows`` − ``others``, a row for each photograph, and its 95 % interval, as [mean, low, high]."""
    paired = [{key: row[key] - other[key] for key in FAITHFULNESS} for row, other in zip(rows, others, strict=False)]
    mean, interval = means(paired), intervals(paired)
    return {key: [mean[key], *interval[key]] for key in FAITHFULNESS}


def agreement(classifier: Classifier, photographs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Mean agreement of explanations by the 8-bit engine with those by float32, from the same masks."""
    distances, jaccards, correlations = [], [], []
    for square, label in zip(photographs, map(int, labels), strict=True):
        one, two = (
            explainers.ours(engine, square, label, Budget(512, UNREACHABLE), 0)
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
        return explainers.ours(painting(probabilities), square, label, Budget(RANDOMISED_SAMPLES, UNREACHABLE), 0)

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
    print("\nOurs − lime's, photograph by photograph\n")
    print("| | " + " | ".join(figures["differences from lime"]) + " |\n" + "| --- " * (len(PRECISIONS) + 1) + "|")
    for key in FAITHFULNESS:
        cells = ["{:+.3f} ({:+.3f} to {:+.3f})".format(*row[key]) for row in figures["differences from lime"].values()]
        print(f"| {TITLES[key]} | " + " | ".join(cells) + " |")
    print("\n| samples | distance | stability estimated | found | R² with pairs | worst |\n" + "| --- " * 6 + "|")
    for samples, row in figures["by samples"].items():
        keys = ("distance", "estimated", "jaccard", *(f"{worst}{key}" for key in WORST for worst in ("", "worst_")))
        print(f"| {samples} | " + " | ".join(f"{row[key]:.3f}" for key in keys) + " |")
    print_calibration(figures["calibration of the stability"])
    seconds, best = speed["seconds"], max(speed["raw images/s"].values())
    reach = speed["to the distance of lime"]
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
