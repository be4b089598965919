"""The batches of an epoch: sampling, and augmentation in a background thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from api.classes import CLASSES
from train.augment import Augmentation, mixup, random_views
from train.recipe import Recipe

T = TypeVar("T")


class Batch(NamedTuple):
    """Augmented images of one step."""

    views: torch.Tensor
    """float32 pixels 0–255, shape (N, 3, size, size)."""

    targets: torch.Tensor
    """Class probabilities to learn, shape (N, classes); two classes share a row where views are blended."""

    labels: torch.Tensor
    """Class of each image that was sampled, shape (N,)."""


@dataclass(frozen=True)
class TrainingSet:
    """The photographs to train on.

    Attributes:
        photographs: ``uint8`` (N, S, S, 3) on the device to compute on.
        labels: their classes (N,).
        sources: index of each one's source (N,), 0 for HAM10000's own folder.
        sides: their shorter sides in pixels before they were resized (N,).
    """

    photographs: torch.Tensor
    labels: np.ndarray
    sources: np.ndarray
    sides: np.ndarray

    def weights(self, size: int, recipe: Recipe) -> np.ndarray:
        """The relative frequency (N,) of each photograph in an epoch with views of ``size`` pixels."""
        large_enough = self.sides >= (recipe.least_side or 0) * size
        weights = np.zeros(len(self.labels))
        weights[large_enough] = class_weights(self.labels[large_enough], recipe.sampling_power)
        if recipe.ham10000_share is None:
            return weights
        images = np.bincount(self.sources[large_enough], minlength=self.sources.max() + 1)
        shares = np.where(images, images.astype(float) ** (recipe.source_power or 0), 0)
        shares[0] = 0
        shares *= (1 - recipe.ham10000_share) / max(shares.sum(), 1)
        shares[0] = 1 - shares.sum()
        totals = np.bincount(self.sources, weights, minlength=len(shares))
        return weights * (shares / np.where(totals, totals, 1))[self.sources]


def class_weights(labels: np.ndarray, power: float) -> np.ndarray:
    """(images of its class) ** -``power`` for each of ``labels`` (N,).

    0 keeps the classes' frequencies, 0.5 is square-root sampling (Mahajan et al., ECCV 2018), 1 makes classes equally
    frequent.
    """
    return np.bincount(labels, minlength=len(CLASSES))[labels].astype(float) ** -power


def sample_indices(weights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` indices in random order, each in proportion to its weight in ``weights`` (N,)."""
    expected = weights / weights.sum() * count
    # Only the fractional parts of the expected counts are sampled at random, so that an epoch leaves out few images.
    repeats = np.floor(expected).astype(int)
    remainder = expected - repeats
    missing = count - repeats.sum()
    if missing > 0:
        replace = missing > np.count_nonzero(remainder)
        extra = rng.choice(len(weights), size=missing, replace=replace, p=remainder / remainder.sum())
        np.add.at(repeats, extra, 1)
    return rng.permutation(np.repeat(np.arange(len(weights)), repeats))


def augmented_batches(
    photographs: torch.Tensor,
    labels: np.ndarray,
    indices: np.ndarray,
    size: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> Iterator[Batch]:
    """Augmented batches, prepared by a background thread while the network computes.

    Args:
        photographs: ``uint8`` (N, S, S, 3) on the device to compute on.
        labels: their classes (N,).
        indices: the images of each step, shape (steps, batch size).
        size: side of the views in pixels.
        augmentation: how far views may differ from their photographs.
        rng: the only source of randomness.
    """
    classes = torch.from_numpy(labels).to(photographs.device)
    targets = nn.functional.one_hot(classes, len(CLASSES)).float()

    def batches() -> Iterator[Batch]:
        for index in torch.from_numpy(indices).to(photographs.device):
            views = random_views(photographs[index], size, augmentation, rng)
            yield Batch(*mixup(views, targets[index], augmentation, rng), classes[index])

    if photographs.device.type == "cuda":
        return _prefetch_in_stream(batches(), photographs.device)
    return prefetch(batches())


def _prefetch_in_stream(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """As :func:`prefetch`, in a separate CUDA stream, so that copies do not wait for training's kernels."""
    stream, training_stream = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    stream.wait_stream(training_stream)  # the photographs may still be on their way to the GPU

    def with_events() -> Iterator[tuple[Batch, torch.cuda.Event]]:
        while True:
            with torch.cuda.stream(stream):
                if (batch := next(batches, None)) is None:
                    return
                event = stream.record_event()
            yield batch, event

    for batch, event in prefetch(with_events()):
        training_stream.wait_event(event)
        for tensor in batch:
            tensor.record_stream(training_stream)  # its memory must not be reused before training has read it
        yield batch


def prefetch(items: Iterable[T], ahead: int = 2) -> Iterator[T]:
    """Yield ``items`` in order while a background thread computes up to ``ahead`` of them in advance.

    An exception from ``items`` is raised here. Closing the generator ends the thread.
    """
    end = object()
    iterator = iter(items)
    with ThreadPoolExecutor(1) as executor:
        pending: deque[Future] = deque(executor.submit(next, iterator, end) for _ in range(ahead))
        try:
            while (item := pending.popleft().result()) is not end:
                pending.append(executor.submit(next, iterator, end))
                yield item
        finally:
            for future in pending:
                future.cancel()
