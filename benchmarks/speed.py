"""Speed of inference and of an explanation beside the plain way, in one run.

    make bench                                          on the drawn examples
    .venv/bin/python benchmarks/speed.py PHOTO …        on other photographs

The plain way is torch in float32, and lime's own explainer with its default settings around it. Times are medians; on a
noisy machine the ratios are more reliable than the speeds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lime.lime_image import LimeImageExplainer

from api.photograph import open_photograph
from handler.checkpoint import Checkpoint
from handler.engines import Classifier
from handler.explainer import PRECISIONS, Explainer, Precision
from handler.images import network_square
from handler.network import PixelsToProbabilities

ROOT = Path(__file__).resolve().parent.parent

REPEATS = 3
BATCHES = (1, 8, 32)


def main() -> None:
    """Print two tables."""
    p = argparse.ArgumentParser(description="Speed of inference and explanation, beside the plain way.")
    p.add_argument("photo", nargs="*", type=Path, default=sorted((ROOT / "examples").glob("drawn_*.jpg")))
    squares = np.stack([network_square(open_photograph(path.read_bytes())) for path in p.parse_args().photo])
    checkpoint = Checkpoint.load(ROOT / "model_store/model_mlbio.pth")
    ours, plain = Classifier(checkpoint), PixelsToProbabilities(checkpoint).eval()

    @torch.inference_mode()
    def torch_probabilities(images: np.ndarray) -> np.ndarray:
        return plain(torch.from_numpy(images))[0].numpy()

    print(f"| images/s | torch float32 | ours, {ours.arithmetic} | ratio | ours, samples | ratio |")
    print("| --- " * 6 + "|")
    for batch in BATCHES:
        images = np.resize(squares, (batch, *squares.shape[1:]))
        base, answers, fast = (
            batch / median_seconds(partial(engine, images))
            for engine in (torch_probabilities, ours.probabilities, ours.sample_probabilities)
        )
        print(f"| batch {batch} | {base:.1f} | {answers:.1f} | {answers / base:.1f} | {fast:.1f} | {fast / base:.1f} |")

    samples = PRECISIONS["Faible"].samples
    label = int(ours.probabilities(squares[:1]).argmax())
    with contextlib.redirect_stderr(io.StringIO()):  # lime's progress bar
        theirs = median_seconds(
            lambda: LimeImageExplainer(random_state=0).explain_instance(
                squares[0], torch_probabilities, labels=(label,), top_labels=None, num_samples=samples
            ),
            repeats=1,
        )
    mine = median_seconds(lambda: Explainer(ours.sampler).explain(squares[0], label, Precision(samples, 2)))
    print(f"\n| seconds for {samples} perturbations | lime as it comes | ours | ratio |\n" + "| --- " * 4 + "|")
    print(f"| one explanation | {theirs:.2f} | {mine:.2f} | {theirs / mine:.1f} |")


def median_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median wall-clock time of ``work()``, after a call that warms up."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
