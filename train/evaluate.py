"""The score card of a trained model on the test images, which training never sees, or on any other set.

python train/evaluate.py ../shared/ham10000
python train/evaluate.py --images ../shared/photos --labels ../shared/photos/labels.csv
python train/evaluate.py --probabilities model_store/score_card/probabilities.csv
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from handler.classifier import Checkpoint, CheckpointError, Classifier
from handler.contract import CLASSES
from train import data, report
from train.arguments import not_negative, positive
from train.data import DataError
from train.predictions import Predictions
from train.score_card import as_json, score_card

BATCH = 32
OUTPUT = ROOT / "model_store/score_card"


class UsageError(ValueError):
    """The command line asks for what cannot be done. Its message says what to change."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        check(arguments)
        output = arguments.output or default_output(arguments)
        if arguments.probabilities:
            predictions = Predictions.read(arguments.probabilities)
            writable(output)
        else:
            predictions = predict(arguments, output)
        card = score_card(predictions, arguments.resamples, arguments.seed)
        text = write(predictions, card, output)
    except (UsageError, DataError, CheckpointError, OSError) as error:
        print(f"evaluate.py: error: {error}", file=sys.stderr)
        return 2
    print(text, end="")
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(description="The score card of a trained model: Markdown, JSON, pictures, answers.")
    p.add_argument("root", nargs="?", type=Path, help=f"folder with {data.METADATA} and {data.FOLDERS['test']}/")
    p.add_argument("--images", type=Path, metavar="DIR", help="instead of root: folder of any other set")
    p.add_argument("--labels", type=Path, metavar="CSV", help="its diagnoses: columns file, dx (and lesion_id, age, …)")
    p.add_argument("--probabilities", type=Path, metavar="CSV", help="instead of images: answers that a run has kept")
    p.add_argument("--modelname", type=Path, default=ROOT / "model_store/model_mlbio.pth", help="checkpoint to judge")
    p.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder to write (default: model_store/score_card; with --images score_card_NAME beside it, NAME being "
        "that folder's; with --probabilities the folder of that file)",
    )
    p.add_argument("--resamples", type=positive, default=1000, help="of the bootstrap (default: 1000)")
    p.add_argument("--seed", type=not_negative, default=0, help="of the bootstrap (default: 0)")
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
    """Where the card goes unless said otherwise: another set never overwrites the card of the test images."""
    if arguments.probabilities:
        return arguments.probabilities.parent
    return OUTPUT.with_name(f"{OUTPUT.name}_{arguments.images.resolve().name}") if arguments.images else OUTPUT


def predict(arguments: argparse.Namespace, output: Path) -> Predictions:
    """Ask the model about all images; ``output`` is tried out first, as this takes minutes."""
    if arguments.images:
        folder, examples = arguments.images, data.find_labelled(arguments.images, arguments.labels)
    else:
        folder, examples = arguments.root / data.FOLDERS["test"], data.find_examples(arguments.root, "test")
    checkpoint = Checkpoint.load(arguments.modelname)
    classifier = Classifier(checkpoint)
    with arguments.modelname.open("rb") as file:
        model = (arguments.modelname.name, hashlib.file_digest(file, "sha256").hexdigest()[:12])
    writable(output)
    squares = data.load_squares(examples, os.cpu_count() or 1, "decoding images")
    inside = [replace(e, path=e.path.relative_to(folder)) for e in examples]
    return Predictions(inside, *classify(classifier, squares), model, checkpoint.malignant_threshold)


def classify(classifier: Classifier, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """What the engine that answers POST /predict says of ``uint8`` squares (N, 224, 224, 3).

    Probabilities float32 (N, classes) in the order of ``CLASSES``, 0 for a class that the model does not know, and
    novelty float32 (N,), None if the model cannot tell.
    """
    starts = tqdm(range(0, len(squares), BATCH), desc="classifying", leave=False, disable=None)
    answers, novelty = zip(*(classifier.assess(squares[s : s + BATCH]) for s in starts), strict=True)
    probabilities = np.zeros((len(squares), len(CLASSES)), np.float32)
    probabilities[:, [list(CLASSES).index(c) for c in classifier.classes]] = np.concatenate(answers)
    novelty = np.concatenate(novelty)
    return probabilities, None if np.isnan(novelty).any() else novelty


def write(predictions: Predictions, card: dict, output: Path) -> str:
    """Write the card, its pictures and the answers into ``output``; returns the Markdown.

    Raises:
        UsageError: the folder cannot be written.
    """
    text = report.markdown(card)
    try:
        predictions.write(output / "probabilities.csv")
        (output / "score_card.json").write_text(as_json(card), encoding="utf-8")
        (output / "score_card.md").write_text(text, encoding="utf-8")
        report.draw(predictions, card, output)
    except OSError as error:
        raise UsageError(f"--output {output} cannot be written ({error.strerror})") from None
    return text


def writable(folder: Path) -> None:
    """Make ``folder`` and try that files can be put there.

    Raises:
        UsageError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / "score_card.json.partial"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise UsageError(f"--output {folder} cannot be written ({error.strerror})") from None


if __name__ == "__main__":
    sys.exit(main())
