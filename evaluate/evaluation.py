"""Score cards from a model's predictions, either new or stored by an earlier run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from api.arguments import UsageError, ensure_writable_folder
from evaluate import files, report
from evaluate.dataset import (
    DataError,
    Example,
    OtherDisease,
    find_examples,
    find_ham10000,
    find_labelled,
    load_squares,
)
from evaluate.files import read_json, read_measured, write_json
from evaluate.held_out import split_again, split_elsewhere
from evaluate.predictions import OtherDiseasePredictions, Predictions, in_class_order, model_of
from evaluate.score_card import ArithmeticMetrics, Robustness
from evaluate.scoring import compare_arithmetic, score_card
from evaluate.sources import find_sources
from evaluate.trade_off import TradeOff
from handler.engines.classifier import Classifier, has_bfloat16
from handler.engines.convert import convert
from handler.model.checkpoint import Checkpoint

BATCH = 32


def evaluate_stored(arguments: argparse.Namespace, output: Path) -> Iterator[str]:
    """Write the score card of the predictions in a file and the measurements next to it; yields its Markdown."""
    predictions, folder = Predictions.read(arguments.probabilities), arguments.probabilities.parent
    ensure_writable_folder(output, "--output")
    arithmetics = read_json(folder / files.ARITHMETIC, list[ArithmeticMetrics]) or []
    others = None
    if (folder / files.OTHER_DISEASES).exists():
        others = OtherDiseasePredictions.read(folder / files.OTHER_DISEASES)
        others = others if others.model == predictions.model else None
    yield write_card(predictions, arithmetics, others, folder, output, arguments)


def evaluate_images(arguments: argparse.Namespace, output: Path) -> Iterator[str]:
    """Predict and write the score card of all images, then that of other sources; yields their Markdown.

    Predicting takes minutes, so all checks come first.
    """
    if arguments.images:
        folder, examples = arguments.images, find_labelled(arguments.images, arguments.labels)
    else:
        found = find_ham10000(arguments.root, "test").checked()
        folder, examples = found.folder, found.examples
        print("".join(f"{note}\n" for note in found.notes), end="", file=sys.stderr)
        if found.is_split_here:
            warn_of_leakage(arguments.root, Checkpoint.load(arguments.modelname))
    checkpoint = Checkpoint.load(arguments.modelname)
    sources = find_sources(arguments.also)
    test = split_elsewhere(sources, arguments.root, checkpoint).test if arguments.also else []
    runner = ModelRunner(arguments.modelname, checkpoint)
    elsewhere = output / files.ELSEWHERE
    for path in [output, elsewhere] if test else [output]:
        ensure_writable_folder(path, "--output")
    predictions, arithmetics = runner.predict(examples, [example.path.relative_to(folder) for example in examples])
    yield write_card(predictions, arithmetics, None, output, output, arguments)
    if test:
        # File names suffice: they are unique across folders.
        predictions, arithmetics = runner.predict(test, [Path(example.path.name) for example in test])
        others = runner.predict_others(sources.others) if sources.others else None
        yield write_card(predictions, arithmetics, others, elsewhere, elsewhere, arguments)


def warn_of_leakage(root: Path, checkpoint: Checkpoint) -> None:
    """Warn if the model was trained on another split, and so perhaps on some of the test images."""
    try:
        split_again(find_examples(root, "train"), checkpoint)
    except DataError as error:
        print(f"warning: the model may have been trained on some of the test images ({error})", file=sys.stderr)


class ModelRunner:
    """Runs a checkpoint's network in float32 and in the faster arithmetics that this machine supports.

    Args:
        path: the checkpoint's file.
        checkpoint: the file's content.
    """

    def __init__(self, path: Path, checkpoint: Checkpoint) -> None:
        graphs = convert(checkpoint)
        self._exact = Classifier(graphs, arithmetic="float32", classes=checkpoint.classes)
        self._faster = {}
        if has_bfloat16():
            bfloat16 = Classifier(graphs, arithmetic="bfloat16", classes=checkpoint.classes)
            self._faster["bfloat16"] = bfloat16.probabilities
        if graphs.samples:
            self._faster["int8"] = self._exact.sample_probabilities
        self._facts = model_of(path), checkpoint.malignant_threshold, checkpoint.plausible_threshold

    def predict(
        self, examples: Sequence[Example], names: Sequence[Path]
    ) -> tuple[Predictions, list[ArithmeticMetrics]]:
        """Predictions in float32 for ``examples``, stored under ``names``, and metrics of every arithmetic."""
        squares = _squares(examples)
        probabilities, novelty = self._assess(squares)
        named = [replace(example, path=name) for example, name in zip(examples, names, strict=True)]
        predictions = Predictions(named, probabilities, novelty, *self._facts)
        compared = {"float32": probabilities}
        for name, probabilities_of in self._faster.items():
            parts = [probabilities_of(batch) for batch in _batches(squares, name)]
            compared[name] = in_class_order(np.concatenate(parts), self._exact.classes)
        return predictions, [
            compare_arithmetic(name, faster, probabilities, predictions.labels) for name, faster in compared.items()
        ]

    def predict_others(self, others: Sequence[OtherDisease]) -> OtherDiseasePredictions:
        """The predictions in float32 for photographs of other diseases."""
        probabilities, novelty = self._assess(_squares(others))
        named = [replace(other, path=Path(other.path.name)) for other in others]
        return OtherDiseasePredictions(named, probabilities, novelty, *self._facts)

    def _assess(self, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Probabilities, float32 (N, classes) in the order of ``CLASSES``, and novelty (N,), None if not known."""
        parts = [self._exact.assess(batch) for batch in _batches(squares, "float32")]
        probabilities, novelty = (np.concatenate(column) for column in zip(*parts, strict=True))
        return in_class_order(probabilities, self._exact.classes), None if np.isnan(novelty).any() else novelty


def _squares(images: Sequence[Example | OtherDisease]) -> np.ndarray:
    return load_squares(images, os.cpu_count() or 1, "decoding images")


def _batches(squares: np.ndarray, name: str) -> Iterator[np.ndarray]:
    for start in tqdm(range(0, len(squares), BATCH), desc=f"classifying in {name}", leave=False, disable=None):
        yield squares[start : start + BATCH]


def write_card(
    predictions: Predictions,
    arithmetics: list[ArithmeticMetrics],
    others: OtherDiseasePredictions | None,
    measured: Path,
    output: Path,
    arguments: argparse.Namespace,
) -> str:
    """Write the card, its pictures and its inputs into the folder ``output``; returns the Markdown.

    ``measured`` is the folder with the results of other commands for the same model.

    Raises:
        DataError: a file in ``measured`` holds something else.
        UsageError: the folder cannot be written.
    """
    robustness = read_measured(measured / files.ROBUSTNESS, Robustness, predictions.model[1])
    trade_off = read_measured(measured / files.TRADE_OFF, TradeOff, predictions.model[1])
    card = score_card(predictions, arguments.resamples, arguments.seed, arithmetics, robustness, trade_off, others)
    text = report.markdown(card)
    try:
        predictions.write(output / files.PREDICTIONS)
        if others:
            others.write(output / files.OTHER_DISEASES)
        write_json(arithmetics, output / files.ARITHMETIC)
        if robustness:
            write_json(robustness, output / files.ROBUSTNESS)
        if trade_off:
            write_json(trade_off, output / files.TRADE_OFF)
        write_json(card, output / files.CARD)
        (output / files.TEXT).write_text(text, encoding="utf-8")
        report.draw(predictions, card, output)
    except OSError as error:
        raise UsageError(f"--output {output} cannot be written ({error.strerror})") from None
    return text
