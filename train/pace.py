"""How fast this machine trains, to divide a given time into epochs."""

from __future__ import annotations

import time
from dataclasses import replace

import msgspec
import numpy as np
import torch
from torchvision.models import resnet34

from api.classes import CLASSES
from train.learner import Learner
from train.main_train import train_epoch
from train.processes import Processes
from train.recipe import Recipe

WARM_UP_STEPS, STEPS = 3, 10


class Pace(msgspec.Struct, frozen=True):
    """Seconds of a training: ``fixed`` before and after its epochs, and those of an average epoch."""

    fixed: float
    epoch: float

    def epochs_within(self, seconds: float, most: int) -> int:
        """The number of epochs that a training of ``seconds`` has, from 1 to ``most``."""
        return max(1, min(most, int((seconds - self.fixed) / self.epoch)))

    def after(self, epochs: int, seconds: float) -> Pace:
        """The pace after a whole training took ``seconds``, all of the difference put down to the epochs."""
        return Pace(self.fixed, max(seconds - self.fixed, 1e-3) / epochs)


def measure(recipe: Recipe, images: int, device: torch.device) -> Pace:
    """Train a few steps at each size of ``recipe`` on made-up images; the time that this takes counts as ``fixed``.

    Args:
        recipe: with its sizes, batch size and augmentation.
        images: of an epoch.
        device: to train on.
    """
    rng = np.random.default_rng(0)
    count = recipe.batch_size * STEPS
    side = recipe.stored_size
    squares = torch.from_numpy(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)).to(device)
    labels = rng.integers(len(CLASSES), size=count)
    processes = Processes()
    learner = Learner.create(resnet34(num_classes=len(CLASSES)), recipe, device, processes)
    started = time.monotonic()
    seconds, reached = 0.0, 0.0
    for share, size in recipe.sizes:
        alone = replace(recipe, sizes=((1.0, size),))
        some = recipe.batch_size * WARM_UP_STEPS
        for squares_, labels_ in ((squares[:some], labels[:some]), (squares, labels)):
            begun = time.monotonic()
            train_epoch(learner, squares_, labels_, alone, processes, epoch=0, epochs=1, seed=0)
            taken = time.monotonic() - begun
        seconds += (share - reached) * taken / count * images
        reached = share
    return Pace(fixed=time.monotonic() - started, epoch=seconds)
