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
import sys
from pathlib import Path

from api.arguments import UsageError
from evaluate.arguments import OUTPUT, add_also_option, add_bootstrap_options, add_model_option
from evaluate.dataset import FOLDERS, METADATA, DataError


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parse(argv)
    # Imported after parsing, because torch takes seconds.
    from evaluate.evaluation import evaluate_images, evaluate_stored
    from handler.model.checkpoint import CheckpointError

    try:
        evaluate = evaluate_stored if arguments.probabilities else evaluate_images
        texts = list(evaluate(arguments, arguments.output or default_output(arguments)))
    except (UsageError, DataError, CheckpointError, OSError) as error:
        print(f"main_evaluate.py: error: {error}", file=sys.stderr)
        return 2
    print("\n".join(texts), end="")
    return 0


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the documented options."""
    p = argparse.ArgumentParser(
        description="Compute the score card of a trained model: Markdown, JSON, pictures and the predictions."
    )
    images = p.add_mutually_exclusive_group(required=True)
    images.add_argument("root", nargs="?", type=Path, help=f"folder with {METADATA} and {FOLDERS['test']}/")
    images.add_argument("--images", type=Path, metavar="DIR", help="instead of root: folder of another set")
    images.add_argument(
        "--probabilities", type=Path, metavar="CSV", help="instead of images: the predictions that an earlier run wrote"
    )
    p.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help="diagnoses of --images: columns file, dx (and optionally lesion_id, age, sex, localization)",
    )
    add_model_option(p, "checkpoint to evaluate")
    p.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder to write (default: model_store/score_card; with --images score_card_NAME next to it, NAME being "
        "that folder's; with --probabilities the folder of that file)",
    )
    add_also_option(p)
    add_bootstrap_options(p)
    arguments = p.parse_args(argv)
    if bool(arguments.images) != bool(arguments.labels):
        p.error("--images and --labels belong together: give both")
    if arguments.also and not arguments.root:
        p.error("--also adds to the images of root: give root")
    return arguments


def default_output(arguments: argparse.Namespace) -> Path:
    """The default folder for the card: another set never overwrites the card of the test images."""
    if arguments.probabilities:
        return arguments.probabilities.parent
    return OUTPUT.with_name(f"{OUTPUT.name}_{arguments.images.resolve().name}") if arguments.images else OUTPUT


if __name__ == "__main__":
    sys.exit(main())
