"""Validation after each epoch, and the checkpoint of the best one."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from api.classes import CLASSES
from evaluate.dataset import Example, load_squares, short_sides
from evaluate.metrics import accuracy, balanced_accuracy, expected_calibration_error, macro_auroc, recalls
from evaluate.predictions import Predictions, model_of
from evaluate.sources import HAM10000
from handler.model.checkpoint import Checkpoint
from handler.model.network import Network
from train.calibrate import Part, calibrate, fit_all, predict, selection_score

NOVELTY_IMAGES = 4000
"""Maximum number of training images for fitting the novelty score."""


@dataclass(frozen=True)
class EpochMetrics:
    """Training metrics of one epoch; ``balanced_accuracy`` is that of augmented views."""

    epoch: int
    size: int
    loss: float
    balanced_accuracy: float
    images_per_second: float


class Validation:
    """Scores each epoch on the held-out images and saves the checkpoint of the best one.

    Args:
        held_out: the images of each source, HAM10000's first; they are decoded here.
        device: where to compute.
        path: the checkpoint to write.
        run_metadata: stored in the checkpoint.
    """

    def __init__(
        self, held_out: dict[str, list[Example]], device: torch.device, path: Path, run_metadata: dict[str, Any]
    ) -> None:
        self.parts = load_parts(held_out)
        self.examples = held_out
        self.device = device
        self.path = path
        self.run_metadata = run_metadata
        self.best_score = -math.inf
        self.history: list[dict[str, Any]] = []

    def add_epoch(self, network: Network, figures: EpochMetrics) -> None:
        """Score ``network``, add the epoch to the history, and save the network if no earlier one was better."""
        parts = {
            name: (predict(network, squares, self.device, mixed=True)[1], labels)
            for name, (squares, labels) in self.parts.items()
        }
        score = selection_score(list(parts.values()))
        facts = asdict(figures) | {
            "validation": {
                name: {
                    "accuracy": round(float(accuracy(*part)), 4),
                    "balanced_accuracy": round(float(balanced_accuracy(*part)), 4),
                    "macro_auroc": round(float(macro_auroc(softmax(part[0], axis=1), part[1])), 4),
                }
                for name, part in parts.items()
            },
            "validation_score": round(score, 4),
        }
        self.history.append(facts)
        print("  validation: " + json.dumps(facts), flush=True)
        if score > self.best_score:
            self.best_score = score
            checkpoint = Checkpoint(network.state_dict())
            probabilities = calibrate(checkpoint, list(parts.values()))
            checkpoint.training = self.run_metadata | {
                "epoch": figures.epoch,
                "torch": str(torch.__version__),
                "validation": validation_metrics(dict(zip(parts, probabilities, strict=True))),
                "history": list(self.history),
            }
            checkpoint.save(self.path)

    def complete(self, train_examples: list[Example]) -> Checkpoint:
        """Calibrate the best epoch, and save it again."""
        checkpoint = Checkpoint.load(self.path)
        complete(checkpoint, train_examples, self.parts, self.device)
        checkpoint.training["history"] = list(self.history)
        checkpoint.save(self.path)
        facts = "; ".join(
            f"{name}: balanced accuracy {figures['balanced_accuracy']:.4f}, accuracy {figures['accuracy']:.4f}"
            for name, figures in checkpoint.training["validation"].items()
        )
        print(
            f"best epoch {checkpoint.training['epoch']}: validation on {facts}; temperature "
            f"{checkpoint.temperature:.3f} -> {self.path}"
        )
        return checkpoint

    def write_predictions(self, checkpoint: Checkpoint, path: Path, folder: Path) -> None:
        """Write the completed ``checkpoint``'s predictions for HAM10000's part, without bias and temperature.

        Image paths are relative to ``folder``.
        """
        relative = [replace(e, path=e.path.relative_to(folder)) for e in self.examples[HAM10000]]
        _, logits = predict(checkpoint.network(), self.parts[HAM10000][0], self.device)
        Predictions(relative, softmax(logits, axis=1), model=model_of(self.path)).write(path)

    def state_dict(self) -> dict[str, Any]:
        """The state for :meth:`load_state_dict`, to resume after the last epoch."""
        return {"best_score": self.best_score, "history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state that :meth:`state_dict` returned."""
        self.best_score, self.history = state["best_score"], state["history"]


def load_parts(held_out: Mapping[str, list[Example]]) -> dict[str, Part]:
    """Squares, ``uint8`` (N, 224, 224, 3), and labels (N,) of each part.

    Raises:
        DataError: an image cannot be read.
    """
    workers = os.cpu_count() or 1
    return {
        name: (load_squares(part, workers, f"decoding {name}"), np.array([example.label for example in part]))
        for name, part in held_out.items()
    }


def complete(
    checkpoint: Checkpoint, train_examples: list[Example], parts: Mapping[str, Part], device: torch.device
) -> None:
    """Fit everything that serving needs in addition to the weights, and store it in ``checkpoint``.

    Args:
        checkpoint: the trained weights, with the facts of the run.
        train_examples: all images that the run was trained on.
        parts: squares and labels of each held-out part, by its name.
        device: where to compute.

    Raises:
        DataError: an image cannot be read.
    """
    examples = large_enough(train_examples, checkpoint)
    sample = np.random.default_rng(0).permutation(len(examples))[:NOVELTY_IMAGES]
    squares = load_squares([examples[i] for i in sample], os.cpu_count() or 1, "decoding images for the novelty score")
    probabilities = fit_all(checkpoint, squares, list(parts.values()), device)
    checkpoint.training["validation"] = validation_metrics(dict(zip(parts, probabilities, strict=True)))


def validation_metrics(parts: Mapping[str, Part]) -> dict[str, dict[str, Any]]:
    """The validation metrics that a checkpoint stores, for each held-out part."""
    return {
        name: {
            "images": len(labels),
            "accuracy": float(accuracy(probabilities, labels)),
            "balanced_accuracy": float(balanced_accuracy(probabilities, labels)),
            "sensitivity": dict(zip(CLASSES, map(float, recalls(probabilities, labels)), strict=True)),
            "expected_calibration_error": float(expected_calibration_error(probabilities, labels)),
        }
        for name, (probabilities, labels) in parts.items()
    }


def large_enough(examples: list[Example], checkpoint: Checkpoint) -> list[Example]:
    """The ``examples`` that were large enough for the last epochs, with the largest views, of ``checkpoint``'s run."""
    recipe = checkpoint.training.get("recipe", {})
    if not recipe.get("least_side"):
        return examples
    sides = short_sides(examples, os.cpu_count() or 1)
    least = recipe["least_side"] * recipe["sizes"][-1][1]
    return [example for example, side in zip(examples, sides, strict=True) if side >= least]
