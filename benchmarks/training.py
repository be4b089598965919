"""Speed of training, beside the plain loop that everyone writes first, in one run.

    .venv/bin/python benchmarks/training.py DATA

The plain loop decodes and augments file by file (torchvision's transforms in a DataLoader with a worker per core) and
computes in float32. Ours is the epoch of ``train/main_train.py``. Same images, same size, same batch, same optimizer;
an epoch over some hundred images after one that warms up, decoding for ours not counted, since it happens once in a
training.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet34
from torchvision.transforms import v2

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from handler.classifier import MEAN, STD
from handler.contract import CLASSES
from handler.images import open_photograph
from train import data, main_train
from train.processes import Processes
from train.weights import ExponentialAverage

IMAGES, REPEATS = 256, 1


class Files(Dataset):
    """Photographs, decoded and augmented each time that they are asked for."""

    def __init__(self, examples: list[data.Example], size: int) -> None:
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
    p = argparse.ArgumentParser(description="Speed of training, beside the plain loop.")
    p.add_argument("root", help="folder laid out like HAM10000")
    p.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    arguments = p.parse_args()
    group = Processes()
    device = group.device(arguments.device)
    examples = data.find_examples(arguments.root, "train")
    examples = [examples[i] for i in np.random.default_rng(0).permutation(len(examples))[:IMAGES]]
    print(f"{len(examples)} images, batches of {main_train.RECIPE['batch']}, on {device}\n")
    print("| side in pixels | plain loop, images/s | ours, images/s | ratio |\n| --- | --- | --- | --- |")
    for size in sorted({size for _, size in main_train.RECIPE["sizes"]} | {224}):
        plain, ours = plain_speed(examples, size, device), our_speed(examples, size, device, group)
        print(f"| {size} | {plain:.1f} | {ours:.1f} | {ours / plain:.1f} |", flush=True)


def plain_speed(examples: list[data.Example], size: int, device: torch.device) -> float:
    """Images per second of the plain loop."""
    network = resnet34(num_classes=len(CLASSES)).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    loader = DataLoader(
        Files(examples, size),
        main_train.RECIPE["batch"],
        shuffle=True,
        num_workers=os.cpu_count() or 1,
        drop_last=True,
        persistent_workers=True,
    )

    def epoch() -> int:
        seen = 0
        for pixels, labels in loader:
            loss = nn.functional.cross_entropy(network(pixels.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            seen += len(labels)
        return seen

    return speed(epoch)


def our_speed(examples: list[data.Example], size: int, device: torch.device, group: Processes) -> float:
    """Images per second of an epoch of the training command."""
    squares = data.load_squares(examples, main_train.CORES, "decoding", main_train.STORED)
    photographs, labels = torch.from_numpy(squares).to(device), np.array([e.label for e in examples])
    network = group.join(resnet34(num_classes=len(CLASSES)), device)
    average, optimizer = ExponentialAverage(network, 0.998), main_train.make_optimizer(network)
    sizes, main_train.RECIPE["sizes"] = main_train.RECIPE["sizes"], [[1.0, size]]
    command = argparse.Namespace(epochs=1, seed=0)

    def epoch() -> int:
        main_train.train_epoch(network, average, optimizer, photographs, labels, 0, command, group)
        return len(labels) // main_train.RECIPE["batch"] * main_train.RECIPE["batch"]

    try:
        return speed(epoch)
    finally:
        main_train.RECIPE["sizes"] = sizes


def speed(epoch) -> float:
    """Median images per second of :data:`REPEATS` epochs after one that warms up. ``epoch()`` returns its images."""
    epoch()
    speeds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        images = epoch()
        speeds.append(images / (time.perf_counter() - started))
    return statistics.median(speeds)


if __name__ == "__main__":
    main()
