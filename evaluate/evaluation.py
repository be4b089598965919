"""A model's answers to labelled images, new or kept from an earlier run, and their score card."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from evaluate import arithmetic, other_diseases, report, robustness, trade_off
from evaluate.arguments import UsageError, ensure_writable_folder
from evaluate.arithmetic import ArithmeticFigures
from evaluate.dataset import FOLDERS, DataError, Example, Photograph, find_examples, find_labelled, load_squares
from evaluate.held_out import held_out, split_sources_again
from evaluate.kept import ANSWERS, ARITHMETIC, CARD, ELSEWHERE, OTHER_DISEASES, ROBUSTNESS, TEXT, TRADE_OFF
from evaluate.other_diseases import OtherAnswers
from evaluate.predictions import Predictions, in_known_order, model_of
from evaluate.score_card import ScoreCard, as_json, score_card
from evaluate.sources import HELD_OUT_SOURCES, OtherDisease, Sources, Split, find_sources
from handler.engines.classifier import Classifier, has_bfloat16
from handler.engines.convert import convert
from handler.model.checkpoint import Checkpoint

BATCH = 32

Assess = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
"""Squares in, probabilities and novelty scores out, if it knows any."""


@dataclass(frozen=True)
class Answered:
    """All that is known of a model's answers to a set of images.

    Attributes:
        others: to photographs of diseases that the model does not know.
        folder: what other commands measured is in it.
        output: folder to write the card to.
    """

    predictions: Predictions
    arithmetics: list[ArithmeticFigures]
    others: OtherAnswers | None
    folder: Path
    output: Path


def kept_answers(answers: Path, output: Path) -> Iterator[Answered]:
    """The answers in a file, and what lies next to it."""
    predictions, folder = Predictions.read(answers), answers.parent
    ensure_writable_folder(output, "--output")
    others = other_diseases.read(folder / OTHER_DISEASES, predictions.model[1])
    yield Answered(predictions, arithmetic.read(folder / ARITHMETIC), others, folder, output)


def new_answers(arguments: argparse.Namespace, output: Path) -> Iterator[Answered]:
    """The model's answers to all images, and then to those of other sources.

    This takes minutes, so everything that can be refused is tried first.
    """
    if arguments.images:
        folder, examples = arguments.images, find_labelled(arguments.images, arguments.labels)
    else:
        folder, examples = arguments.root / FOLDERS["test"], find_examples(arguments.root, "test")
    checkpoint = Checkpoint.load(arguments.modelname)
    sources = find_sources(arguments.also)
    test = split_elsewhere(sources, arguments.root, checkpoint).test if arguments.also else []
    network = Network(arguments.modelname, checkpoint)
    elsewhere = output / ELSEWHERE
    for place in [output, elsewhere] if test else [output]:
        ensure_writable_folder(place, "--output")
    names = [example.path.relative_to(folder) for example in examples]
    yield Answered(*network.predictions(examples, names), None, output, output)
    if test:
        # Their names alone: no two folders have an image of the same name.
        predictions, arithmetics = network.predictions(test, [Path(example.path.name) for example in test])
        others = network.other_answers(sources.others) if sources.others else None
        yield Answered(predictions, arithmetics, others, elsewhere, elsewhere)


def split_elsewhere(sources: Sources, root: Path, checkpoint: Checkpoint) -> Split:
    """The parts of ``sources`` for a model that was trained on the images under ``root``.

    Raises:
        DataError: nothing is held out, or the model was trained on other images.
    """
    validation = held_out(find_examples(root, "train"), checkpoint)
    split = split_sources_again(sources.examples, validation, checkpoint)
    if not split.validation or not split.test:
        raise DataError(f"--also has too few photographs of {', '.join(HELD_OUT_SOURCES)} to hold some out")
    return split


class Network:
    """A checkpoint's network in float32, and in the faster arithmetics that this machine has.

    Args:
        path: the checkpoint's file.
        checkpoint: its content.
    """

    def __init__(self, path: Path, checkpoint: Checkpoint) -> None:
        graphs = convert(checkpoint)
        exact = Classifier(graphs, arithmetic="float32", classes=checkpoint.classes)
        self._classes = exact.classes
        self._exact: Assess = exact.assess
        self._faster: dict[str, Assess] = {}
        if has_bfloat16():
            self._faster["bfloat16"] = Classifier(graphs, arithmetic="bfloat16", classes=checkpoint.classes).assess
        if graphs.samples:
            self._faster["int8"] = lambda pixels: (exact.sample_probabilities(pixels), None)
        self._facts = model_of(path), checkpoint.malignant_threshold, checkpoint.plausible_threshold

    def predictions(
        self, examples: Sequence[Example], names: Sequence[Path]
    ) -> tuple[Predictions, list[ArithmeticFigures]]:
        """The answers in float32 to ``examples``, which get ``names``, compared with those in faster arithmetic."""
        squares = _squares(examples)
        probabilities, novelty = classify(self._exact, self._classes, squares, "float32")
        named = [replace(example, path=name) for example, name in zip(examples, names, strict=True)]
        predictions = Predictions(named, probabilities, novelty, *self._facts)
        answers = {"float32": probabilities} | {
            name: classify(assess, self._classes, squares, name)[0] for name, assess in self._faster.items()
        }
        return predictions, [
            arithmetic.compare(name, faster, probabilities, predictions.labels) for name, faster in answers.items()
        ]

    def other_answers(self, others: Sequence[OtherDisease]) -> OtherAnswers:
        """The answers in float32 to photographs of other diseases."""
        probabilities, novelty = classify(self._exact, self._classes, _squares(others), "float32")
        named = [replace(other, path=Path(other.path.name)) for other in others]
        return OtherAnswers(named, probabilities, novelty, *self._facts)


def _squares(images: Sequence[Photograph]) -> np.ndarray:
    return load_squares(images, os.cpu_count() or 1, "decoding images")


def classify(
    assess: Assess, classes: list[str], squares: np.ndarray, description: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Answers to ``uint8`` squares (N, 224, 224, 3) by an engine of :class:`handler.engines.classifier.Classifier`.

    Returns probabilities, float32 (N, classes) in the order of ``CLASSES``, 0 for a class that the model lacks, and
    novelty, float32 (N,), None if it is not known.
    """
    starts = tqdm(range(0, len(squares), BATCH), desc=f"classifying in {description}", leave=False, disable=None)
    answers, scores = zip(*(assess(squares[s : s + BATCH]) for s in starts), strict=True)
    probabilities = in_known_order(np.concatenate(answers), classes)
    novelty = None if scores[0] is None else np.concatenate(scores)
    return probabilities, None if novelty is None or np.isnan(novelty).any() else novelty


def card_of(answered: Answered, resamples: int, seed: int) -> ScoreCard:
    """The card, with what other commands measured of the same model."""
    sha256 = answered.predictions.model[1]
    shifts = robustness.read(answered.folder / ROBUSTNESS, sha256)
    curve = trade_off.read(answered.folder / TRADE_OFF, sha256)
    return score_card(
        answered.predictions, resamples, seed, answered.arithmetics, shifts, curve, others=answered.others
    )


def write(answered: Answered, card: ScoreCard) -> str:
    """Write the card, its pictures and the answers; returns the Markdown.

    Raises:
        UsageError: the folder cannot be written.
    """
    text, output = report.markdown(card), answered.output
    try:
        answered.predictions.write(output / ANSWERS)
        if answered.others:
            answered.others.write(output / OTHER_DISEASES)
        arithmetic.write(card.arithmetics, output / ARITHMETIC)
        if card.robustness:
            robustness.write(card.robustness, output / ROBUSTNESS)
        if card.trade_off:
            trade_off.write(card.trade_off, output / TRADE_OFF)
        (output / CARD).write_text(as_json(card), encoding="utf-8")
        (output / TEXT).write_text(text, encoding="utf-8")
        report.draw(answered.predictions, card, output)
    except OSError as error:
        raise UsageError(f"--output {output} cannot be written ({error.strerror})") from None
    return text
