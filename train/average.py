"""Averaging the weights of several networks, which costs no time at inference.

Networks that were fine-tuned from the same one lie in one basin of the loss, and so does their average: it is often as
good as their ensemble, even on out-of-distribution photographs (Wortsman et al., "Model soups", ICML 2022; "Robust
fine-tuning of zero-shot models", CVPR 2022). It is useless for networks without a common ancestor.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.special import softmax

from api.arguments import UsageError, ensure_writable
from evaluate.dataset import DataError, find_examples
from evaluate.held_out import split_all_again
from evaluate.metrics import accuracy, balanced_accuracy, macro_auroc
from evaluate.sources import find_sources
from handler.model.checkpoint import Checkpoint
from train.calibrate import Part, fit_bias, predict, selection_score
from train.hardware import Processes
from train.validation import complete, load_parts

SHARED_METADATA = ("images", "images_sha256", "recipe", "fold", "sources", "sources_sha256")
"""Keys of ``Checkpoint.training`` that the average takes from the first of its models."""


def average(arguments: argparse.Namespace) -> None:
    """Run the command: average, fit, print metrics of each model and average, and save the best average.

    Raises:
        UsageError: the output cannot be written, or the models do not go together.
        DataError: the folder is not as documented, or the models were trained on other images.
        CheckpointError: a checkpoint cannot be used.
    """
    ensure_writable(arguments.output, "--output")
    checkpoints = [Checkpoint.load(path) for path in arguments.models]
    means = [average_checkpoints(checkpoints, weights) for weights in arguments.weights or [[1.0] * len(checkpoints)]]
    examples, others = find_examples(arguments.root, "train"), find_sources(arguments.also).examples
    (train_examples, held_out), *splits = (split_all_again(examples, others, c) for c in checkpoints)
    if any(split != (train_examples, held_out) for split in splits):
        raise DataError("the models have different validation images, so none are left to fit the mean to")
    device = Processes().device(arguments.device)
    parts = load_parts(held_out)
    for path, checkpoint in zip(arguments.models, checkpoints, strict=True):
        print_metrics(checkpoint, str(path), parts, device)
    scores = [print_metrics(mean, f"mean ({describe_weights(mean)})", parts, device) for mean in means]
    mean = means[int(np.argmax(scores))]
    complete(mean, train_examples, parts, device)
    mean.save(arguments.output)
    print(f"the mean ({describe_weights(mean)}) is in {arguments.output}")


def print_metrics(checkpoint: Checkpoint, name: str, parts: Mapping[str, Part], device: torch.device) -> float:
    """Print metrics of ``checkpoint`` on each of ``parts`` (squares and labels); returns its selection score."""
    network = checkpoint.network()
    logits = [(predict(network, squares, device)[1], labels) for squares, labels in parts.values()]
    bias = fit_bias(logits)
    for part, (answers, labels) in zip(parts, logits, strict=True):
        probabilities = softmax(answers + bias, axis=1)
        print(
            f"{name}, {part}: accuracy {accuracy(probabilities, labels):.3f}, balanced accuracy "
            f"{balanced_accuracy(probabilities, labels):.3f}, macro AUROC {macro_auroc(probabilities, labels):.3f}",
            flush=True,
        )
    return selection_score(logits)


def describe_weights(mean: Checkpoint) -> str:
    """The weight of each model in ``mean``, such as 0.7, 0.3."""
    return ", ".join(f"{part['weight']:.3g}" for part in mean.training["mean"])


def average_checkpoints(checkpoints: Sequence[Checkpoint], weights: Sequence[float]) -> Checkpoint:
    """The weighted mean of weights and batch-norm statistics, before anything is fitted to held-out images.

    Args:
        checkpoints: networks of the same classes.
        weights: of each; only their ratios matter.

    Raises:
        UsageError: there are not as many weights as networks, one is negative, all are zero, or the classes differ.
    """
    if len(weights) != len(checkpoints):
        raise UsageError(f"{len(weights)} weights for {len(checkpoints)} models: give one for each")
    total = sum(weights)
    if not all(0 <= weight < math.inf for weight in weights) or not total:
        raise UsageError("weights must be numbers of at least 0, and one of them must be above 0")
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
    training = {name: first.training[name] for name in SHARED_METADATA if name in first.training}
    parts = [{"weight": s, "training": c.training} for s, c in zip(shares, checkpoints, strict=True)]
    return Checkpoint(state, list(first.classes), training=training | {"torch": str(torch.__version__), "mean": parts})
