"""The batches of an epoch: which images, in which order, augmented in a background thread."""

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
    """The photographs that are learned from.

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
        enough = self.sides >= (recipe.least_side or 0) * size
        weights = np.zeros(len(self.labels))
        weights[enough] = class_weights(self.labels[enough], recipe.sampling_power)
        if recipe.ham10000_share is None:
            return weights
        images = np.bincount(self.sources[enough], minlength=self.sources.max() + 1)
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
    # An image is taken the integer part of its expected count, the rest by chance: few are left out of an epoch.
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
        return _beside_training(batches(), photographs.device)
    return in_background(batches())


def _beside_training(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """As :func:`in_background`, in a stream of its own: else copies to the GPU would wait for training's kernels."""
    ours, theirs = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    ours.wait_stream(theirs)  # what the batches are made of may be on its way yet

    def made() -> Iterator[tuple[Batch, torch.cuda.Event]]:
        while True:
            with torch.cuda.stream(ours):
                if (batch := next(batches, None)) is None:
                    return
                event = ours.record_event()
            yield batch, event

    for batch, event in in_background(made()):
        theirs.wait_event(event)
        for tensor in batch:
            tensor.record_stream(theirs)  # so that its memory is not used again too early
        yield batch


def in_background(items: Iterable[T], ahead: int = 2) -> Iterator[T]:
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
