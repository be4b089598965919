"""Figures of a trained model on the test images, which training never sees.

python train/evaluate.py ../shared/ham10000
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from handler.classifier import Checkpoint, CheckpointError, Classifier
from handler.contract import CLASSES
from train import data, metrics

BATCH = 32


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    p = argparse.ArgumentParser(description="Figures of a trained model on the test images of a folder like HAM10000.")
    p.add_argument("root", help=f"folder with {data.METADATA} and {data.FOLDERS['test']}/")
    p.add_argument("--modelname", type=Path, default=ROOT / "model_store/model_mlbio.pth", help="checkpoint to judge")
    arguments = p.parse_args(argv)
    try:
        examples = data.find_examples(arguments.root, "test")
        classifier = Classifier(Checkpoint.load(arguments.modelname))
        squares = data.load_squares(examples, os.cpu_count() or 1, "decoding test images")
    except (data.DataError, CheckpointError) as error:
        print(f"evaluate.py: error: {error}", file=sys.stderr)
        return 2
    # The engine that answers POST /predict, on the pixels that it would be given.
    starts = tqdm(range(0, len(squares), BATCH), desc="classifying", leave=False, disable=None)
    probabilities = np.concatenate([classifier.probabilities(squares[s : s + BATCH]) for s in starts])
    print(report(probabilities, np.array([e.label for e in examples])))
    return 0


def report(probabilities: np.ndarray, labels: np.ndarray) -> str:
    """A Markdown table of the figures. ``probabilities`` (N, C), ``labels`` (N,)."""
    matrix = metrics.confusion(probabilities, labels)
    lines = [
        f"{len(labels)} images, one forward pass each, against always answering the commonest class:",
        "",
        "| | model | commonest class |",
        "| --- | --- | --- |",
        f"| accuracy | {metrics.accuracy(probabilities, labels):.4f} | {np.bincount(labels).max() / len(labels):.4f} |",
        f"| balanced accuracy | {metrics.balanced_accuracy(probabilities, labels):.4f} "
        f"| {1 / len(np.unique(labels)):.4f} |",
        f"| expected calibration error (15 bins) | {metrics.expected_calibration_error(probabilities, labels):.4f} | |",
        "",
        "| true class | images | sensitivity | answered: " + " | ".join(CLASSES) + " |",
        "| --- | --- | --- |" + " --- |" * len(CLASSES),
    ]
    for (name, row), recall in zip(
        zip(CLASSES, matrix, strict=True), metrics.recalls(probabilities, labels), strict=True
    ):
        lines.append(f"| {name} | {row.sum()} | {recall:.3f} | " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
