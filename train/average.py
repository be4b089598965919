"""The mean of several trained networks' weights, which answers in one pass.

Networks that were trained on from the same one lie in one basin of the loss, and so does their mean: it is often as
good as the mean of their answers, also on photographs unlike those that they learned from (Wortsman et al., "Model
soups", ICML 2022; "Robust fine-tuning of zero-shot models", CVPR 2022). Of networks without a common ancestor it is
useless.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from evaluate.arguments import UsageError
from evaluate.dataset import DataError, Example
from evaluate.held_out import split_again
from handler.checkpoint import Checkpoint

SHARED_FACTS = ("images", "images_sha256", "recipe", "fold", "sources", "sources_sha256")
"""Of ``Checkpoint.training``: what the mean has in common with its parts, or has from the first of them."""


def mean_of(checkpoints: Sequence[Checkpoint], weights: Sequence[float]) -> Checkpoint:
    """A checkpoint of the weighted mean of weights and batch-norm statistics; nothing is fitted yet.

    Args:
        checkpoints: networks of the same classes.
        weights: of each, not negative; only their ratios matter.

    Raises:
        UsageError: there are not as many weights as networks, all are zero, or the classes differ.
    """
    if len(weights) != len(checkpoints):
        raise UsageError(f"{len(weights)} weights for {len(checkpoints)} models: give one for each")
    total = sum(weights)
    if min(weights) < 0 or total <= 0:
        raise UsageError("weights must not be negative, and one of them must be above 0")
    first = checkpoints[0]
    if any(checkpoint.classes != first.classes for checkpoint in checkpoints):
        raise UsageError("the models have different classes: their weights cannot be averaged")
    shares = [weight / total for weight in weights]
    state = {
        name: torch.stack([s * c.state[name] for s, c in zip(shares, checkpoints, strict=True)]).sum(0)
        if value.is_floating_point()
        else value
        for name, value in first.state.items()
    }
    training = {name: first.training[name] for name in SHARED_FACTS if name in first.training}
    parts = [{"weight": s, "training": c.training} for s, c in zip(shares, checkpoints, strict=True)]
    return Checkpoint(state, list(first.classes), training=training | {"torch": str(torch.__version__), "mean": parts})


def split_of_all(examples: list[Example], checkpoints: Sequence[Checkpoint]) -> tuple[list[Example], list[Example]]:
    """``(train, validation)``, which have to be the same for all networks.

    Raises:
        DataError: they are not, or a network was trained on other images.
    """
    first, *others = (split_again(examples, checkpoint) for checkpoint in checkpoints)
    if any(other != first for other in others):
        raise DataError("the models have different validation images, so none are left to fit the mean to")
    return first
