"""Compute the score card of a trained model on the test images, which training never sees, or on another labelled set.

python evaluate/main_evaluate.py ../shared/ham10000
python evaluate/main_evaluate.py ../shared/ham10000 --also ../shared/elsewhere
python evaluate/main_evaluate.py --images ../shared/photos --labels ../shared/photos/labels.csv
python evaluate/main_evaluate.py --probabilities model_store/score_card/probabilities.csv

``--also`` adds a second card, in ``elsewhere/`` inside the first one's folder: of the test parts of other sources, and
of their photographs of diseases that the model does not know.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from evaluate import arithmetic, other_diseases, report, robustness, trade_off
from evaluate.arguments import UsageError, add_also_option, add_bootstrap_options, ensure_writable_folder
from evaluate.arithmetic import ArithmeticFigures
from evaluate.dataset import (
    FOLDERS,
    METADATA,
    DataError,
    Example,
    Photograph,
    find_examples,
    find_labelled,
    load_squares,
)
from evaluate.held_out import held_out, split_sources_again
from evaluate.other_diseases import OtherAnswers
from evaluate.predictions import Predictions, in_known_order, model_of
from evaluate.score_card import ScoreCard, as_json, score_card
from evaluate.sources import HELD_OUT_SOURCES, OtherDisease, Sources, Split, find_sources
from handler.checkpoint import Checkpoint, CheckpointError
from handler.convert import convert
from handler.engines import Classifier, has_bfloat16

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "model_store/score_card"
CARD, TEXT, ANSWERS, ARITHMETIC = "score_card.json", "score_card.md", "probabilities.csv", "arithmetic.json"
ROBUSTNESS, TRADE_OFF = "robustness.json", "trade_off.json"
"""Written into the folder of the card by evaluate/main_robustness.py and train/main_trade_off.py."""
ELSEWHERE, OTHER_DISEASES = "elsewhere", "other_diseases.csv"
"""Folder of the card of other sources, inside that of HAM10000's, and a file in it."""

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


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        check(arguments)
        output = arguments.output or default_output(arguments)
        sets = kept(arguments.probabilities, output) if arguments.probabilities else asked(arguments, output)
        texts = [write(answered, card_of(answered, arguments.resamples, arguments.seed)) for answered in sets]
    except (UsageError, DataError, CheckpointError, OSError) as error:
        print(f"main_evaluate.py: error: {error}", file=sys.stderr)
        return 2
    print("\n".join(texts), end="")
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(
        description="Compute the score card of a trained model: Markdown, JSON, pictures and answers."
    )
    p.add_argument("root", nargs="?", type=Path, help=f"folder with {METADATA} and {FOLDERS['test']}/")
    p.add_argument("--images", type=Path, metavar="DIR", help="instead of root: folder of another set")
    p.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help="its diagnoses: columns file, dx (and optionally lesion_id, age, sex, localization)",
    )
    p.add_argument(
        "--probabilities", type=Path, metavar="CSV", help="instead of images: the answers that an earlier run has kept"
    )
    p.add_argument(
        "--modelname", type=Path, default=ROOT / "model_store/model_mlbio.pth", help="checkpoint to evaluate"
    )
    p.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder to write (default: model_store/score_card; with --images score_card_NAME beside it, NAME being "
        "that folder's; with --probabilities the folder of that file)",
    )
    add_also_option(p)
    add_bootstrap_options(p)
    return p


def check(arguments: argparse.Namespace) -> None:
    """Refuse a command line that names no set of images, or more than one."""
    given = [name for name in ("root", "--images", "--probabilities") if getattr(arguments, name.strip("-"))]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are both given: give one of them")
    if not given:
        raise UsageError("no images are given: give root, --images with --labels, or --probabilities")
    if bool(arguments.images) != bool(arguments.labels):
        raise UsageError("--images and --labels belong together: give both")
    if arguments.also and not arguments.root:
        raise UsageError("--also adds to the images of root: give root")


def default_output(arguments: argparse.Namespace) -> Path:
    """The default folder for the card: another set never overwrites the card of the test images."""
    if arguments.probabilities:
        return arguments.probabilities.parent
    return OUTPUT.with_name(f"{OUTPUT.name}_{arguments.images.resolve().name}") if arguments.images else OUTPUT


def kept(answers: Path, output: Path) -> Iterator[Answered]:
    """The answers in a file, and what lies next to it."""
    predictions, folder = Predictions.read(answers), answers.parent
    ensure_writable_folder(output, "--output")
    others = other_diseases.read(folder / OTHER_DISEASES, predictions.model[1])
    yield Answered(predictions, arithmetic.read(folder / ARITHMETIC), others, folder, output)


def asked(arguments: argparse.Namespace, output: Path) -> Iterator[Answered]:
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
    """Answers to ``uint8`` squares (N, 224, 224, 3) by an engine of :class:`handler.engines.Classifier`.

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


if __name__ == "__main__":
    sys.exit(main())
