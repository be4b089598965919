"""The network in 8-bit integers, step by step, beside NNCF: speed, agreement and error.

    .venv/bin/python benchmarks/quantisation.py DATA       DATA has the layout of HAM10000; takes some minutes
    .venv/bin/pip install nncf                             … for NNCF's rows

Errors are those of log-odds (root mean square) against float32, of validation photographs and of perturbed ones. All
variants are timed in turns, in batches of BATCH perturbed photographs. On a CPU without VNNI, all but the last of our
variants, and NNCF's, are wrong, as its 8-bit sums saturate.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from evaluate.arithmetic import agreement, log_odds_rmse
from evaluate.dataset import find_examples, load_squares, split_by_lesion
from handler.engines.classifier import has_bfloat16
from handler.engines.convert import convert, trace
from handler.engines.graphs import Arithmetic, compile_graph, ov
from handler.engines.quantise import Ranges, RoundedWeights, Rounding, convolutions, quantise
from handler.engines.saturation import saturates, without_saturation
from handler.explain.lime.regions import paint, regions_of, skin_surface
from handler.model.checkpoint import Checkpoint
from handler.model.inference import PixelsToProbabilities

ROOT = Path(__file__).resolve().parent.parent

BATCH = 32
REPEATS = 15
PERTURBED_PHOTOS = 16
CALIBRATION_IMAGES = 256
"""Training images for NNCF."""

Run = Callable[[np.ndarray], np.ndarray]
"""Probabilities (N, classes) of ``uint8`` squares (N, 224, 224, 3)."""


def main() -> None:
    """Print a table."""
    p = argparse.ArgumentParser(description="8-bit quantisation step by step, on validation photographs.")
    p.add_argument("root", type=Path, help="a folder in HAM10000's layout")
    p.add_argument("--photos", type=int, default=800, help="how many validation photographs (default: %(default)s)")
    arguments = p.parse_args()
    torch.set_grad_enabled(False)
    checkpoint = Checkpoint.load(ROOT / "model_store/model_mlbio.pth")
    train, validation = split_by_lesion(find_examples(arguments.root, "train"), 0.1, 0)
    rng = np.random.default_rng(0)
    photographs, calibration = (
        load_squares([examples[i] for i in rng.permutation(len(examples))[:count]], 2, name)
        for examples, count, name in (
            (validation, arguments.photos, "validation"), (train, CALIBRATION_IMAGES, "training")
        )
    )  # fmt: skip
    perturbed = perturbations(photographs[:PERTURBED_PHOTOS], rng)
    runs = {name: compiled(graph, arithmetic) for name, graph, arithmetic in variants(checkpoint, calibration)}
    speeds = images_per_second(runs, perturbed[:BATCH])
    answers = {name: (in_batches(run, photographs), in_batches(run, perturbed)) for name, run in runs.items()}
    exact, exact_perturbed = answers["float32"]
    print(f"{len(photographs)} validation photographs, {len(perturbed)} perturbed ones\n")
    print("| | images/s | same diagnosis | error of log-odds | perturbed |\n" + "| --- " * 5 + "|")
    for name, (found, found_perturbed) in answers.items():
        errors = log_odds_rmse(found, exact), log_odds_rmse(found_perturbed, exact_perturbed)
        print(f"| {name} | {speeds[name]:.0f} | {agreement(found, exact):.4f} | {errors[0]:.3f} | {errors[1]:.3f} |")


def variants(checkpoint: Checkpoint, calibration: np.ndarray) -> Iterator[tuple[str, ov.Model, Arithmetic]]:
    """Name and graph of each variant, and the arithmetic of what it does not quantise."""
    ranges = checkpoint.ranges
    if ranges is None:
        raise SystemExit("the checkpoint has no ranges: let its training end")
    plain = trace(PixelsToProbabilities(checkpoint).eval())
    yield "float32", plain, "float32"
    if has_bfloat16():
        yield "bfloat16", plain, "bfloat16"
    yield "8 bits: inputs of convolutions", trace(rounded(checkpoint, inputs_only, ranges)), "float32"
    yield "… and residual sums", trace(rounded(checkpoint, with_sums, ranges)), "float32"
    yield "… and whole pixels", convert(replace(checkpoint, rounding_errors=None)).samples, "float32"
    ours = convert(checkpoint).samples
    yield f"… and corrected biases{'' if saturates() else ' (ours)'}", ours, "float32"
    if saturates():
        yield "… and weights whose sums fit (ours on this CPU)", without_saturation(ours), "float32"
    try:
        nncf = importlib.import_module("nncf")  # nothing else needs it
    except ImportError:
        print("NNCF is not installed: its rows are left out\n")
        return
    nncf.set_log_level(logging.ERROR)
    dataset = nncf.Dataset([image[None] for image in calibration])
    for name, preset in (
        ("performance", nncf.QuantizationPreset.PERFORMANCE),
        ("mixed", nncf.QuantizationPreset.MIXED),
    ):
        graph = nncf.quantize(plain.clone(), dataset, preset=preset, subset_size=len(calibration))
        yield f"NNCF, preset {name}", graph, "float32"


def rounded(
    checkpoint: Checkpoint, change: Callable[[PixelsToProbabilities, Ranges], None], ranges: Ranges
) -> PixelsToProbabilities:
    """The checkpoint's network, folded and changed by one of the functions below."""
    module = PixelsToProbabilities(checkpoint).eval()
    module.network.fold_batch_norm()
    change(module, ranges)
    return module


def inputs_only(module: PixelsToProbabilities, ranges: Ranges) -> None:
    """Every convolution rounds what it reads, and residual sums keep their precision."""
    for name, convolution in list(convolutions(module.network)):
        parent, _, child = name.rpartition(".")
        rounding = nn.Sequential(Rounding(*symmetric(ranges[name])), RoundedWeights(convolution))
        setattr(module.network.get_submodule(parent), child, rounding)


def with_sums(module: PixelsToProbabilities, ranges: Ranges) -> None:
    """As :func:`handler.engines.convert.convert`, but the first convolution rounds normalised pixels."""
    name, first = convolutions(module.network)[0]
    quantise(module.network, ranges, module.normalise.get_buffer("mean"), module.normalise.get_buffer("std"))
    module.network.set_submodule(name, nn.Sequential(Rounding(*symmetric(ranges[name])), RoundedWeights(first)))


def symmetric(bounds: tuple[float, float]) -> tuple[float, float]:
    """A range with zero in its middle, unless nothing is negative."""
    low, high = bounds
    return (-max(high, -low), max(high, -low)) if low < 0 else bounds


def compiled(graph: ov.Model, arithmetic: Arithmetic) -> Run:
    """The graph as the service runs it."""
    model = compile_graph(graph, arithmetic)
    return lambda pixels: np.array(model(pixels, share_inputs=True)[0])


def images_per_second(runs: dict[str, Run], images: np.ndarray) -> dict[str, float]:
    """Medians; the variants take turns, so that all meet the same noise."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(images)
    for _ in range(REPEATS):
        for name, run in runs.items():
            started = time.perf_counter()
            run(images)
            seconds[name].append(time.perf_counter() - started)
    return {name: len(images) / float(np.median(times)) for name, times in seconds.items()}


def perturbations(squares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """:data:`BATCH` perturbed photographs of each square."""
    painted = []
    for square in squares:
        segments = regions_of(square)
        masks = rng.random((BATCH, segments.max() + 1)) < 0.5
        painted.append(paint(square, skin_surface(square), segments, masks))
    return np.concatenate(painted)


def in_batches(run: Run, images: np.ndarray) -> np.ndarray:
    """The answers to all images."""
    return np.concatenate([run(images[start : start + BATCH]) for start in range(0, len(images), BATCH)])


if __name__ == "__main__":
    main()
