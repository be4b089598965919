"""Sets of predictions and of photographs made for tests of the evaluation."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from evaluate.dataset import Example
from evaluate.predictions import Predictions
from evaluate.score_card import ScoreCard

AKIEC, BCC, BKL, DF, MEL, NV, VASC = range(7)


def confident(predicted: list[int], confidence: float = 0.7) -> np.ndarray:
    """Probabilities (N, 7) that give ``confidence`` to each predicted class and share the rest equally."""
    probabilities = np.full((len(predicted), 7), (1 - confidence) / 6, np.float32)
    probabilities[np.arange(len(predicted)), predicted] = confidence
    return probabilities


def examples_of(labels: list[int], lesions: list[str] | None = None) -> list[Example]:
    lesions = [f"L{i}" for i in range(len(labels))] if lesions is None else lesions
    return [
        Example(Path(f"{i}.jpg"), label, lesion) for i, (label, lesion) in enumerate(zip(labels, lesions, strict=True))
    ]


def random_predictions(count: int, seed: int = 0, **optional) -> Predictions:
    """A set like HAM10000 in its classes, lesions and patients, and a model that is often right."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(7, count, p=np.array([66, 103, 221, 23, 224, 1341, 29]) / 2007)
    logits = rng.normal(0, 1, (count, 7))
    logits[np.arange(count), labels] += 2
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    examples = [
        Example(
            Path(f"part/ISIC_{i}.jpg"),
            int(label),
            f"HAM_{rng.integers(count * 3 // 4)}",
            [None, 5.0, 32.5, 50.0, 80.0][rng.integers(5)],
            ["", "female", "male"][rng.integers(3)],
            ["", "back", "face", "trunk"][rng.integers(4)],
        )
        for i, label in enumerate(labels)
    ]
    return Predictions(examples, probabilities.astype(np.float32), model=("model.pth", "0123456789ab"), **optional)


def as_dict(card: ScoreCard) -> dict:
    """The card as its JSON file has it."""
    return msgspec.json.decode(msgspec.json.encode(card))


def relabel(photographs: Path, change) -> None:
    path = photographs / "labels.csv"
    path.write_text(change(path.read_text()))
