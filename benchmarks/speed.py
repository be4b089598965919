"""Speed of inference and of an explanation beside the plain way, in one run.

    make bench                                          on the drawn examples
    .venv/bin/python benchmarks/speed.py PHOTO …        on other photographs
    .venv/bin/python benchmarks/speed.py --device cuda  on a GPU

The plain way is torch in float32, and lime's own explainer with its default settings around it. On a GPU, the bound is
the bare network in float16, on a batch that stays in the GPU's memory. Times are medians; on a noisy machine the ratios
are more reliable than the speeds.
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

from api.classes import CLASSES
from api.photograph import open_photograph
from handler.engines.classifier import Classifier
from handler.explain.lime.explainer import BUDGETS, Budget, LimeExplainer
from handler.model.checkpoint import Checkpoint
from handler.model.images import SIZE, network_square
from handler.model.inference import PixelsToProbabilities

ROOT = Path(__file__).resolve().parent.parent

REPEATS = 3
BATCHES = (1, 8, 32)
CUDA_BATCHES = (1, 8, 32, 128)
PASSES = 20
"""Of the bare network, for one figure."""


def main() -> None:
    """Print two tables."""
    p = argparse.ArgumentParser(description="Speed of inference and explanation, beside the plain way.")
    p.add_argument("photo", nargs="*", type=Path, default=sorted((ROOT / "examples").glob("drawn_*.jpg")))
    p.add_argument("--device", default="cpu", help="cpu, or a CUDA device (default: cpu)")
    arguments = p.parse_args()
    squares = np.stack([network_square(open_photograph(path.read_bytes())) for path in arguments.photo])
    checkpoint = Checkpoint.load(ROOT / "model_store/model_mlbio.pth")
    ours, device = Classifier(checkpoint, arguments.device), torch.device(arguments.device)
    plain = PixelsToProbabilities(checkpoint).eval().to(device)

    @torch.inference_mode()
    def torch_probabilities(images: np.ndarray) -> np.ndarray:
        return plain(torch.from_numpy(images).to(device))[0].cpu().numpy()

    print(f"| images/s | torch float32 | ours, {ours.arithmetic} | ratio | ours, samples | ratio |")
    print("| --- " * 6 + "|")
    for batch in CUDA_BATCHES if device.type == "cuda" else BATCHES:
        images = np.resize(squares, (batch, *squares.shape[1:]))
        base, answers, fast = (
            batch / median_seconds(partial(engine, images))
            for engine in (torch_probabilities, ours.probabilities, ours.sample_probabilities)
        )
        print(f"| batch {batch} | {base:.1f} | {answers:.1f} | {answers / base:.1f} | {fast:.1f} | {fast / base:.1f} |")

    if device.type == "cuda":
        batch, bound = CUDA_BATCHES[-1], images_per_second(checkpoint, device, CUDA_BATCHES[-1])
        print(f"\nbound: {bound:.1f} images/s in batches of {batch}; ours, samples ÷ bound: {fast / bound:.2f}")

    samples = BUDGETS["Faible"].samples
    label = int(ours.probabilities(squares[:1]).argmax())
    with contextlib.redirect_stderr(io.StringIO()):  # lime's progress bar
        theirs = median_seconds(
            lambda: LimeImageExplainer(random_state=0).explain_instance(
                squares[0], torch_probabilities, labels=(label,), top_labels=None, num_samples=samples
            ),
            repeats=1,
        )
    rng = np.random.default_rng(0)
    explainers = (
        LimeExplainer(ours.sampler, ours.batch),
        LimeExplainer(lambda *_: lambda m: rng.dirichlet(np.ones(len(CLASSES)), len(m))),
    )
    explain = [partial(e.explain, squares[0], label, Budget(samples, 2)) for e in explainers]
    mine, beside = map(median_seconds, explain)
    print(f"\n| seconds for {samples} perturbations | lime as it comes | ours | ratio | ours beside the network |")
    print("| --- " * 5 + "|")
    print(f"| one explanation | {theirs:.2f} | {mine:.2f} | {theirs / mine:.1f} | {beside:.2f} |")


@torch.inference_mode()
def images_per_second(checkpoint: Checkpoint, device: torch.device, batch: int) -> float:
    """Speed of the bare network on a GPU, in float16 and without a copy to or from its memory."""
    network = checkpoint.network().fold_batch_norm().half().to(device).to(memory_format=torch.channels_last)
    x = torch.zeros((batch, 3, SIZE, SIZE), dtype=torch.half, device=device).contiguous(
        memory_format=torch.channels_last
    )

    def work() -> None:
        for _ in range(PASSES):
            network(x)
        torch.cuda.synchronize(device)

    return PASSES * batch / median_seconds(work)


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
