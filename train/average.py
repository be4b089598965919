"""The mean of several trained networks' weights, which answers in one pass.

Networks that were trained on from the same one lie in one basin of the loss, and so does their mean: it is often as
good as the mean of their answers, also on photographs unlike those that they learned from (Wortsman et al., "Model
soups", ICML 2022; "Robust fine-tuning of zero-shot models", CVPR 2022). Of networks without a common ancestor it is
useless.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.special import softmax

from api.arguments import UsageError, ensure_writable
from evaluate.dataset import DataError, Example, find_examples
from evaluate.held_out import split_again, split_sources_again
from evaluate.metrics import accuracy, balanced_accuracy, macro_auroc
from evaluate.sources import HAM10000, by_source, find_sources
from handler.model.checkpoint import Checkpoint
from train.calibrate import Part, complete, fit_bias, predict, selection_score
from train.processes import Processes
from train.validation import facts_of, large_enough, load_parts, squares_for_novelty

SHARED_FACTS = ("images", "images_sha256", "recipe", "fold", "sources", "sources_sha256")
"""Of ``Checkpoint.training``: what the mean has in common with its parts, or has from the first of them."""


def average(arguments: argparse.Namespace) -> None:
    """Average and fit as the command line says, and print figures of each model and mean; the best mean is kept.

    Raises:
        UsageError: the output cannot be written, or the models do not go together.
        DataError: the folder is not as documented, or the models were trained on other images.
        CheckpointError: a checkpoint cannot be used.
    """
    ensure_writable(arguments.output, "--output")
    checkpoints = [Checkpoint.load(path) for path in arguments.models]
    means = [mean_of(checkpoints, weights) for weights in arguments.weights or [[1.0] * len(checkpoints)]]
    learned, held_out = split_of_all(find_examples(arguments.root, "train"), checkpoints)
    also = find_sources(arguments.also).examples
    others, *_ = [split_sources_again(also, held_out, checkpoint) for checkpoint in checkpoints]
    learned = large_enough(learned + others.train, checkpoints[0])
    parts = {HAM10000: held_out} | by_source(others.validation)
    device = Processes().device(arguments.device)
    squares = load_parts(parts)
    for path, checkpoint in zip(arguments.models, checkpoints, strict=True):
        score_of(checkpoint, str(path), squares, device)
    scores = [score_of(mean, f"mean ({shares_of(mean)})", squares, device) for mean in means]
    mean = means[int(np.argmax(scores))]
    familiar = squares_for_novelty(learned)
    mean.training["validation"] = facts_of(complete(mean, familiar, list(squares.values()), device), list(parts))
    mean.save(arguments.output)
    print(f"the mean ({shares_of(mean)}) is in {arguments.output}")


def score_of(checkpoint: Checkpoint, name: str, parts: Mapping[str, Part], device: torch.device) -> float:
    """Print figures of ``checkpoint`` on each of ``parts`` (squares and labels); returns its score, as epochs have."""
    network = checkpoint.network().to(device).to(memory_format=torch.channels_last)
    logits = [(predict(network, squares, device)[1], labels) for squares, labels in parts.values()]
    bias = fit_bias(logits)
    biased = [(answers + bias, labels) for answers, labels in logits]
    for part, answered in zip(parts, biased, strict=True):
        print(f"{name}, {part}: {line_of(*answered)}", flush=True)
    return selection_score(biased)


def shares_of(mean: Checkpoint) -> str:
    """The share of each model in ``mean``, such as 0.7, 0.3."""
    return ", ".join(f"{part['weight']:.3g}" for part in mean.training["mean"])


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


def line_of(logits: np.ndarray, labels: np.ndarray) -> str:
    """Figures of ``logits`` (N, C) for ``labels`` (N,)."""
    probabilities = softmax(logits, axis=1)
    return (
        f"accuracy {accuracy(probabilities, labels):.3f}, balanced accuracy "
        f"{balanced_accuracy(probabilities, labels):.3f}, macro AUROC {macro_auroc(probabilities, labels):.3f}"
    )
