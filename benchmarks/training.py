"""Speed of training beside the usual plain loop, in one run.

    .venv/bin/python benchmarks/training.py DATA

The plain loop decodes and augments file by file (torchvision's transforms in a DataLoader with a worker per core) and
computes in float32. Ours is the epoch of ``train/main_train.py``. Images, size, batch and optimizer are the same. Each
is timed over an epoch of a few hundred images after one that warms up; our decoding is not counted, as it happens once
in a training.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from api.classes import CLASSES
from api.photograph import open_photograph
from evaluate.dataset import Example, find_examples
from handler.model.images import SIZE
from handler.model.network import MEAN, STD, Network
from train.learner import Learner
from train.processes import Processes
from train.recipe import Recipe
from train.training import load_training_set, train_epoch

IMAGES = 256
"""Images of an epoch."""

REPEATS = 1
"""Timed epochs; the median is printed."""


class DecodedDataset(Dataset):
    """Photographs, decoded and augmented each time that they are asked for."""

    def __init__(self, examples: list[Example], size: int) -> None:
        self.examples = examples
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.4, 1.0)),
                v2.RandomHorizontalFlip(),
                v2.RandomVerticalFlip(),
                v2.ColorJitter(0.25, 0.25, 0.25),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
                v2.RandomErasing(0.4),
            ]
        )

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        example = self.examples[i]
        return self.transform(open_photograph(example.path.read_bytes())), example.label


def main() -> None:
    """Print a table of images per second for each size of the recipe."""
    p = argparse.ArgumentParser(description="Speed of training, beside the plain loop.")
    p.add_argument("root", help="folder laid out like HAM10000")
    p.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    arguments = p.parse_args()
    recipe = Recipe()
    device = Processes().device(arguments.device)
    examples = find_examples(arguments.root, "train")
    examples = [examples[i] for i in np.random.default_rng(0).permutation(len(examples))[:IMAGES]]
    print(f"{len(examples)} images, batches of {recipe.batch_size}, on {device}\n")
    print("| side in pixels | plain loop, images/s | ours, images/s | ratio |\n| --- | --- | --- | --- |")
    for size in sorted({size for _, size in recipe.sizes} | {SIZE}):
        plain = plain_speed(examples, size, recipe.batch_size, device)
        ours = our_speed(examples, replace(recipe, sizes=((1.0, size),)), device)
        print(f"| {size} | {plain:.1f} | {ours:.1f} | {ours / plain:.1f} |", flush=True)


def plain_speed(examples: list[Example], size: int, batch_size: int, device: torch.device) -> float:
    """Images per second of the plain loop."""
    network = Network(len(CLASSES)).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    loader = DataLoader(
        DecodedDataset(examples, size),
        batch_size,
        shuffle=True,
        num_workers=os.cpu_count() or 1,
        drop_last=True,
        persistent_workers=True,
    )

    def epoch() -> int:
        images = 0
        for pixels, labels in loader:
            loss = nn.functional.cross_entropy(network(pixels.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            images += len(labels)
        return images

    return images_per_second(epoch)


def our_speed(examples: list[Example], recipe: Recipe, device: torch.device) -> float:
    """Images per second of an epoch of the training command."""
    training_set = load_training_set(examples, recipe, device)
    learner = Learner.create(Network(len(CLASSES)), recipe, device, Processes())

    def epoch() -> int:
        train_epoch(learner, training_set, recipe, Processes(), epoch=0, epochs=1, seed=0)
        return len(examples) // recipe.batch_size * recipe.batch_size

    return images_per_second(epoch)


def images_per_second(epoch: Callable[[], int]) -> float:
    """Median speed of :data:`REPEATS` epochs after one that warms up; ``epoch()`` returns its number of images."""
    epoch()
    speeds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        images = epoch()
        speeds.append(images / (time.perf_counter() - started))
    return statistics.median(speeds)


if __name__ == "__main__":
    main()
