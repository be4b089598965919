"""The answers of a model to labelled images under every shift."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluate import robustness
from evaluate.arguments import ensure_writable_folder
from evaluate.dataset import Example, find_examples
from evaluate.evaluation import split_elsewhere
from evaluate.held_out import held_out
from evaluate.kept import ELSEWHERE, ROBUSTNESS
from evaluate.predictions import Predictions, in_known_order, model_of
from evaluate.robustness import Robustness
from evaluate.shifts import SHIFTS
from evaluate.sources import find_sources
from handler.engines.classifier import Classifier
from handler.model.checkpoint import Checkpoint


def measure(arguments: argparse.Namespace) -> Robustness:
    """Classify the images as the command line says, and write the table and the answers.

    Raises:
        UsageError: a folder cannot be written.
        DataError: the images are not as documented.
        CheckpointError: the checkpoint cannot be used.
    """
    ensure_writable_folder(arguments.output, "--output")
    if arguments.answers:
        ensure_writable_folder(arguments.answers, "--answers")
    checkpoint = Checkpoint.load(arguments.modelname)
    sets = {name: examples_of(arguments.root, name, checkpoint) for name in arguments.sets}
    if arguments.also:
        split = split_elsewhere(find_sources(arguments.also), arguments.root, checkpoint)
        sets |= {f"{name}, {ELSEWHERE}": getattr(split, name) for name in arguments.sets}
    classifier = Classifier(checkpoint)

    def answer(squares: np.ndarray) -> np.ndarray:
        return in_known_order(classifier.probabilities(squares), classifier.classes)

    answers = {
        name: robustness.answers_under(SHIFTS, examples, answer, f"{name} images, shifted")
        for name, examples in sets.items()
    }
    model = model_of(arguments.modelname)
    made = Robustness(
        sha256=model[1],
        arithmetic=classifier.arithmetic,
        images={name: len(examples) for name, examples in sets.items()},
        sets={
            name: robustness.compare(answers[name], examples, arguments.resamples, arguments.seed)
            for name, examples in sets.items()
        },
    )
    if arguments.answers:
        for name, examples in sets.items():
            keep(answers[name], examples, arguments.answers, name, model)
    robustness.write(made, arguments.output / ROBUSTNESS)
    return made


def examples_of(root: Path, name: str, checkpoint: Checkpoint) -> list[Example]:
    """The set called ``name``."""
    return find_examples(root, name) if name == "test" else held_out(find_examples(root, "train"), checkpoint)


def keep(
    answers: Mapping[str, np.ndarray], examples: list[Example], folder: Path, name: str, model: tuple[str, str]
) -> None:
    """Write the answers under each shift to files such as ``validation_blur_of_1.5_px.csv``."""
    inside = [replace(example, path=Path(example.path.name)) for example in examples]
    for shift, probabilities in answers.items():
        words = "_".join(re.findall(r"[\w.]+", f"{name} {shift}"))
        Predictions(inside, probabilities, model=model).write(folder / f"{words}.csv")
