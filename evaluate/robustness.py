"""Robustness to distribution shifts between cameras and software.

The shifts change white balance, gamma, focus, compression or resizing, none of which changes the diagnosis.
"""

from __future__ import annotations

import argparse
import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from tqdm import tqdm

from api.arguments import ensure_writable_folder
from api.photograph import ImageError, Square, open_photograph
from evaluate import metrics
from evaluate.bootstrap import Bootstrap, clusters_of
from evaluate.dataset import DataError, Example, find_examples
from evaluate.files import ELSEWHERE, ROBUSTNESS, write_json
from evaluate.held_out import split_again, split_elsewhere
from evaluate.predictions import Predictions, in_class_order, model_of
from evaluate.score_card import MEAN_CHANGE, UNCHANGED, Robustness, ShiftMetrics
from evaluate.sources import find_sources
from handler.engines.classifier import Classifier
from handler.model.checkpoint import Checkpoint
from handler.model.images import SIZE, network_square

BATCH = 32

Shift = Callable[[Image.Image], Image.Image]
"""Maps an RGB photograph of any size to the changed photograph, which may have another size."""

JPEG_QUALITY = 40

BLUR = 1.5 / SIZE
"""Standard deviation of the blur as a share of the shorter side: 1.5 pixels of the network's square."""


def measure(arguments: argparse.Namespace) -> Robustness:
    """Run the command: classify the images, and write the table and the predictions.

    Raises:
        UsageError: a folder cannot be written.
        DataError: the images are not as documented.
        CheckpointError: the checkpoint cannot be used.
    """
    ensure_writable_folder(arguments.output, "--output")
    if arguments.answers:
        ensure_writable_folder(arguments.answers, "--answers")
    checkpoint = Checkpoint.load(arguments.modelname)
    sets = {name: examples_of(arguments.root, name, checkpoint) for name in arguments.sets}
    if arguments.also:
        split = split_elsewhere(find_sources(arguments.also), arguments.root, checkpoint)
        sets |= {f"{name}, {ELSEWHERE}": getattr(split, name) for name in arguments.sets}
    classifier, model = Classifier(checkpoint), model_of(arguments.modelname)
    predictions = {name: predict(examples, classifier, f"{name} images") for name, examples in sets.items()}
    robustness = Robustness(
        sha256=model[1],
        arithmetic=classifier.arithmetic,
        images={name: len(examples) for name, examples in sets.items()},
        sets={
            name: compare(predictions[name], examples, arguments.resamples, arguments.seed)
            for name, examples in sets.items()
        },
    )
    if arguments.answers:
        for name, examples in sets.items():
            named = [replace(example, path=Path(example.path.name)) for example in examples]
            for shift, probabilities in predictions[name].items():
                file_name = "_".join(re.findall(r"[\w.]+", f"{name} {shift}")) + ".csv"
                Predictions(named, probabilities, model=model).write(arguments.answers / file_name)
    write_json(robustness, arguments.output / ROBUSTNESS)
    return robustness


def examples_of(root: Path, name: str, checkpoint: Checkpoint) -> list[Example]:
    """The ``test`` or ``validation`` images of HAM10000."""
    if name == "test":
        return find_examples(root, "test")
    return split_again(find_examples(root, "train"), checkpoint)[1]


def predict(examples: Sequence[Example], classifier: Classifier, description: str) -> dict[str, np.ndarray]:
    """Probabilities (N, classes) of ``examples`` under each of :data:`SHIFTS`; each image is decoded once.

    Raises:
        DataError: an image cannot be read.
    """

    def squares_of(example: Example) -> np.ndarray:
        try:
            photograph = open_photograph(example.path.read_bytes())
        except (ImageError, OSError) as error:
            raise DataError(f"{example.path}: {error}") from None
        return np.stack([network_square(shift(photograph)) for shift in SHIFTS.values()])

    parts: dict[str, list[np.ndarray]] = {name: [] for name in SHIFTS}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in tqdm(range(0, len(examples), BATCH), desc=description, leave=False, disable=None):
            batch = np.stack(list(pool.map(squares_of, examples[start : start + BATCH])), 1)
            for name, squares in zip(SHIFTS, batch, strict=True):
                parts[name].append(classifier.probabilities(np.ascontiguousarray(squares)))
    return {name: in_class_order(np.concatenate(part), classifier.classes) for name, part in parts.items()}


def compare(
    predictions: Mapping[str, np.ndarray], examples: Sequence[Example], resamples: int, seed: int
) -> list[ShiftMetrics]:
    """Metrics of the ``predictions`` under each shift, and their differences from those of the unchanged images.

    The last row, :data:`MEAN_CHANGE`, is the mean of all shifts. Whole lesions are resampled, the same ones with and
    without the shift.
    """
    labels = np.array([e.label for e in examples])
    bootstrap = Bootstrap(clusters_of([e.lesion for e in examples]), resamples, seed)
    unchanged = predictions[UNCHANGED]

    def row(name: str, shifted: Sequence[np.ndarray]) -> ShiftMetrics:
        def mean(metric: Callable, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
            return np.mean([metric(probabilities, truth, weights) for probabilities in shifted], axis=0)

        def change(metric: Callable, weights: np.ndarray) -> np.ndarray:
            return mean(metric, labels, weights) - metric(unchanged, labels, weights)

        return ShiftMetrics(
            name,
            accuracy=bootstrap.estimate(partial(mean, metrics.accuracy, labels)),
            balanced_accuracy=bootstrap.estimate(partial(mean, metrics.balanced_accuracy, labels)),
            accuracy_change=bootstrap.estimate(partial(change, metrics.accuracy)),
            balanced_accuracy_change=bootstrap.estimate(partial(change, metrics.balanced_accuracy)),
            agreement=bootstrap.estimate(partial(mean, metrics.accuracy, unchanged.argmax(1))),
        )

    changed = [shifted for name, shifted in predictions.items() if name != UNCHANGED]
    return [*(row(name, [shifted]) for name, shifted in predictions.items()), row(MEAN_CHANGE, changed)]


def white_balance(red: float, blue: float) -> Shift:
    """Multiply the red and blue channels."""
    return _by_level(lambda levels: np.stack([levels * red, levels, levels * blue]))


def gamma(exponent: float) -> Shift:
    """Raise the pixels, scaled to 0–1, to ``exponent``: below 1 is lighter, above 1 darker."""
    return _by_level(lambda levels: np.stack([(levels / 255) ** exponent * 255] * 3))


def blur(photograph: Image.Image) -> Image.Image:
    """A Gaussian blur in proportion to the photograph's size."""
    return photograph.filter(ImageFilter.GaussianBlur(BLUR * min(photograph.size)))


def jpeg(photograph: Image.Image) -> Image.Image:
    """Compressed again, with :data:`JPEG_QUALITY`, at the original size."""
    buffer = io.BytesIO()
    photograph.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Image.open(buffer).convert("RGB")


def half_resolution(photograph: Image.Image) -> Image.Image:
    """Reduced to half of the network's pixels on the shorter side; preprocessing enlarges it again."""
    return ImageOps.cover(photograph, (SIZE // 2, SIZE // 2))


def without_antialiasing(photograph: Image.Image) -> Image.Image:
    """The centre square, resized bilinearly without a low-pass filter, as by OpenCV and older versions of torch."""
    import torch
    from torch.nn.functional import interpolate

    square = photograph.crop(Square.of(photograph.size).box)
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].float()
    small = interpolate(pixels, (SIZE, SIZE), mode="bilinear", antialias=False, align_corners=False)
    return Image.fromarray(small[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy())


def squeezed(photograph: Image.Image) -> Image.Image:
    """The whole photograph, resized to a square without preserving the aspect ratio."""
    return photograph.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def cropped(photograph: Image.Image) -> Image.Image:
    """The centre of 224 pixels after resizing to 256, as torchvision's weights prescribe: a closer view."""
    resized = ImageOps.cover(photograph, (256, 256))
    return resized.crop(Square.of(resized.size, SIZE).box)


def _by_level(curves: Callable[[np.ndarray], np.ndarray]) -> Shift:
    """Replace each level by that of its channel's curve; ``curves`` maps levels (256,) to (3, 256)."""
    table = curves(np.arange(256.0)).round().clip(0, 255).astype(np.uint8).ravel().tolist()
    return lambda photograph: photograph.point(table)


SHIFTS: dict[str, Shift] = {
    UNCHANGED: lambda photograph: photograph,
    "white balance, warmer": white_balance(1.1, 0.9),
    "white balance, cooler": white_balance(0.9, 1.1),
    "gamma 0.7 (lighter)": gamma(0.7),
    "gamma 1.4 (darker)": gamma(1.4),
    "blur of 1.5 px": blur,
    f"JPEG {JPEG_QUALITY}": jpeg,
    "112 px, enlarged": half_resolution,
    "bilinear, no antialiasing": without_antialiasing,
    "squeezed into a square": squeezed,
    "256 px, centre 224": cropped,
}
"""By the name in the score card; sizes in pixels are those of the network's square."""
