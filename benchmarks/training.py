"""Speed of training compared with a plain PyTorch loop, in one run.

    .venv/bin/python benchmarks/training.py DATA

The plain loop decodes and augments file by file (torchvision's transforms in a DataLoader with a worker per core) and
computes in float32. Ours is an epoch of `train/main_train.py`, with the same images, size, batch and optimizer. An
epoch of a few hundred images is timed after a warm-up epoch. Our decoding is not counted, as it happens once per run.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from api.classes import CLASSES
from api.photograph import open_photograph
from benchmarks.common import print_header, print_row

if TYPE_CHECKING:
    import torch

    from evaluate.dataset import Example
    from train.recipe import Recipe


def main() -> None:
    """Print a table of images per second for each size of the recipe."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("root", help="folder laid out like HAM10000")
    p.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    p.add_argument("--images", type=int, default=256, help="of an epoch (default: %(default)s)")
    arguments = p.parse_args()
    # Imported after parsing, because torch takes seconds.
    from evaluate.dataset import find_examples
    from train.hardware import Processes
    from train.recipe import Recipe

    recipe = Recipe()
    device = Processes().device(arguments.device)
    examples = find_examples(arguments.root, "train")
    examples = [examples[i] for i in np.random.default_rng(0).permutation(len(examples))[: arguments.images]]
    print(f"{len(examples)} images, batches of {recipe.batch_size}, on {device}")
    print_header("side in pixels", "plain loop, images/s", "ours, images/s", "ratio")
    for size in sorted({size for _, size in recipe.sizes}):
        plain = plain_speed(examples, size, recipe.batch_size, device)
        ours = our_speed(examples, replace(recipe, sizes=((1.0, size),)), device)
        print_row(str(size), f"{plain:.1f}", f"{ours:.1f}", f"{ours / plain:.1f}")


def plain_speed(examples: list[Example], size: int, batch_size: int, device: torch.device) -> float:
    """Images per second of the plain loop."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, default_collate
    from torchvision.transforms import v2

    from handler.model.network import MEAN, STD, Network

    network = Network(len(CLASSES)).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    augment = v2.Compose(
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

    def read(batch: list[Example]) -> list[torch.Tensor]:
        return default_collate([(augment(open_photograph(e.path.read_bytes())), e.label) for e in batch])

    loader: DataLoader = DataLoader(
        examples,  # type: ignore[arg-type] # a list has all that it needs
        batch_size,
        shuffle=True,
        num_workers=os.cpu_count() or 1,
        drop_last=True,
        persistent_workers=True,
        collate_fn=read,
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
    from handler.model.network import Network
    from train.hardware import Processes
    from train.learner import Learner
    from train.training import load_training_set, train_epoch

    training_set = load_training_set(examples, recipe, device)
    learner = Learner.create(Network(len(CLASSES)), recipe, device, Processes())

    def epoch() -> int:
        train_epoch(learner, training_set, recipe, Processes(), epoch=0, epochs=1, seed=0)
        return len(examples) // recipe.batch_size * recipe.batch_size

    return images_per_second(epoch)


def images_per_second(epoch: Callable[[], int]) -> float:
    """Speed of an epoch after a warm-up epoch; ``epoch()`` returns its number of images."""
    epoch()
    started = time.perf_counter()
    return epoch() / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
