"""Compute the score card of a trained model on the test images, which training never sees, or on another labelled set.

python evaluate/main_evaluate.py ../shared/ham10000
python evaluate/main_evaluate.py --images ../shared/photos --labels ../shared/photos/labels.csv
python evaluate/main_evaluate.py --probabilities model_store/score_card/probabilities.csv
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from evaluate import arithmetic, report, robustness, trade_off
from evaluate.arguments import UsageError, add_bootstrap_options, ensure_writable_folder
from evaluate.arithmetic import ArithmeticFigures
from evaluate.dataset import FOLDERS, METADATA, DataError, find_examples, find_labelled, load_squares
from evaluate.predictions import Predictions, in_known_order, model_of
from evaluate.score_card import ScoreCard, as_json, score_card
from handler.checkpoint import Checkpoint, CheckpointError
from handler.convert import convert
from handler.engines import Classifier, has_bfloat16

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "model_store/score_card"
CARD, TEXT, ANSWERS, ARITHMETIC = "score_card.json", "score_card.md", "probabilities.csv", "arithmetic.json"
ROBUSTNESS, TRADE_OFF = "robustness.json", "trade_off.json"
"""Written into the folder of the card by evaluate/main_robustness.py and train/main_trade_off.py."""

BATCH = 32

Assess = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
"""Squares in, probabilities and novelty scores out, if it knows any."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        check(arguments)
        output = arguments.output or default_output(arguments)
        if arguments.probabilities:
            predictions = Predictions.read(arguments.probabilities)
            beside = arguments.probabilities.parent
            arithmetics = arithmetic.read(beside / ARITHMETIC)
            ensure_writable_folder(output, "--output")
        else:
            beside = output
            predictions, arithmetics = predict(arguments, output)
        shifts = robustness.read(beside / ROBUSTNESS, predictions.model[1])
        curve = trade_off.read(beside / TRADE_OFF, predictions.model[1])
        card = score_card(predictions, arguments.resamples, arguments.seed, arithmetics, shifts, curve)
        text = write(predictions, card, output)
    except (UsageError, DataError, CheckpointError, OSError) as error:
        print(f"main_evaluate.py: error: {error}", file=sys.stderr)
        return 2
    print(text, end="")
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


def default_output(arguments: argparse.Namespace) -> Path:
    """The default folder for the card: another set never overwrites the card of the test images."""
    if arguments.probabilities:
        return arguments.probabilities.parent
    return OUTPUT.with_name(f"{OUTPUT.name}_{arguments.images.resolve().name}") if arguments.images else OUTPUT


def predict(arguments: argparse.Namespace, output: Path) -> tuple[Predictions, list[ArithmeticFigures]]:
    """The model's answers to all images in float32, compared with those in faster arithmetic.

    This takes minutes, so ``output`` is tried first.
    """
    if arguments.images:
        folder, examples = arguments.images, find_labelled(arguments.images, arguments.labels)
    else:
        folder, examples = arguments.root / FOLDERS["test"], find_examples(arguments.root, "test")
    checkpoint = Checkpoint.load(arguments.modelname)
    graphs = convert(checkpoint)
    exact = Classifier(graphs, arithmetic="float32", classes=checkpoint.classes)
    model = model_of(arguments.modelname)
    ensure_writable_folder(output, "--output")
    squares = load_squares(examples, os.cpu_count() or 1, "decoding images")
    inside = [replace(e, path=e.path.relative_to(folder)) for e in examples]
    engines: dict[str, Assess] = {"float32": exact.assess}
    if has_bfloat16():
        engines["bfloat16"] = Classifier(graphs, arithmetic="bfloat16", classes=checkpoint.classes).assess
    if graphs.samples:
        engines["int8"] = lambda pixels: (exact.sample_probabilities(pixels), None)
    answers = {name: classify(assess, exact.classes, squares, name) for name, assess in engines.items()}
    probabilities, novelty = answers["float32"]
    thresholds = checkpoint.malignant_threshold, checkpoint.plausible_threshold
    predictions = Predictions(inside, probabilities, novelty, model, *thresholds)
    return predictions, [
        arithmetic.compare(name, faster, probabilities, predictions.labels) for name, (faster, _) in answers.items()
    ]


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


def write(predictions: Predictions, card: ScoreCard, output: Path) -> str:
    """Write the card, its pictures and the answers into ``output``; returns the Markdown.

    Raises:
        UsageError: the folder cannot be written.
    """
    text = report.markdown(card)
    try:
        predictions.write(output / ANSWERS)
        arithmetic.write(card.arithmetics, output / ARITHMETIC)
        if card.robustness:
            robustness.write(card.robustness, output / ROBUSTNESS)
        if card.trade_off:
            trade_off.write(card.trade_off, output / TRADE_OFF)
        (output / CARD).write_text(as_json(card), encoding="utf-8")
        (output / TEXT).write_text(text, encoding="utf-8")
        report.draw(predictions, card, output)
    except OSError as error:
        raise UsageError(f"--output {output} cannot be written ({error.strerror})") from None
    return text


if __name__ == "__main__":
    sys.exit(main())
