"""Distillation: a teacher's answers to the training images, which a student learns beside their labels.

A network is surer of images that it learned from than it should be, so each image is answered only by networks that did
not learn from it: those of the folds, and any other run on its validation part (Hinton, Vinyals and Dean, "Distilling
the Knowledge in a Neural Network", 2015; out-of-fold teachers: Wolpert, "Stacked generalization", 1992).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from api.classes import CLASSES
from evaluate.arguments import UsageError
from evaluate.dataset import Example, load_squares
from evaluate.held_out import held_out
from evaluate.predictions import Predictions
from handler.checkpoint import Checkpoint
from train.calibrate import predict


def teach(
    checkpoints: Sequence[Checkpoint], examples: list[Example], folder: Path, device: torch.device
) -> Predictions:
    """The mean answer of all networks to each image that they did not learn from, over its eight dihedral views.

    Answers are softmax(logits / temperature), without the bias of rare classes. Images that every network learned from
    are left out.

    Args:
        checkpoints: trained on parts of ``examples``.
        examples: all training images.
        folder: that their paths are inside of.
        device: where to compute.

    Raises:
        DataError: a network was trained on other images.
        UsageError: a network has other classes.
    """
    number = {example.path: i for i, example in enumerate(examples)}
    sums, counts = np.zeros((len(examples), len(CLASSES))), np.zeros(len(examples))
    for checkpoint in checkpoints:
        if checkpoint.classes != list(CLASSES):
            raise UsageError(f"a teacher knows the classes {', '.join(checkpoint.classes)}: all seven are needed")
        unseen = held_out(examples, checkpoint)
        rows = [number[example.path] for example in unseen]
        sums[rows] += dihedral_answers(checkpoint, load_squares(unseen, os.cpu_count() or 1, "decoding images"), device)
        counts[rows] += 1
    known = np.flatnonzero(counts)
    inside = [Example(examples[i].path.relative_to(folder), examples[i].label, examples[i].lesion) for i in known]
    return Predictions(inside, (sums[known] / counts[known, None]).astype(np.float32))


def dihedral_answers(checkpoint: Checkpoint, squares: np.ndarray, device: torch.device) -> np.ndarray:
    """Probabilities (N, classes) of ``uint8`` squares (N, S, S, 3), averaged over their eight symmetries."""
    network = checkpoint.network().to(device).to(memory_format=torch.channels_last)
    total = np.zeros((len(squares), len(CLASSES)))
    for flipped in (squares, squares[:, :, ::-1]):
        for turns in range(4):
            view = np.ascontiguousarray(np.rot90(flipped, turns, axes=(1, 2)))
            total += softmax(predict(network, view, device, mixed=True)[1] / checkpoint.temperature, axis=1)
    return total / 8


def soft_targets(path: Path, examples: Sequence[Example], weight: float) -> np.ndarray:
    """What a student learns of each of ``examples``: its label and the teacher's answer, float32 (N, classes).

    Args:
        path: the teacher's answers; an image that is not among them keeps its label alone.
        examples: the student's training images.
        weight: of the answer, from 0 to 1.

    Raises:
        DataError: the file is not one of answers.
        UsageError: it answers none of the images.
    """
    answers = Predictions.read(path)
    by_name = {e.path.stem: row for e, row in zip(answers.examples, answers.probabilities, strict=True)}
    targets = np.eye(len(CLASSES), dtype=np.float32)[[e.label for e in examples]]
    known = [i for i, example in enumerate(examples) if example.path.stem in by_name]
    if not known:
        raise UsageError(f"--teacher {path} answers none of the training images: give answers to these")
    taught = np.stack([by_name[examples[i].path.stem] for i in known])
    targets[known] = (1 - weight) * targets[known] + weight * taught
    return targets
