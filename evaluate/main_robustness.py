"""Measure how much of a trained model's accuracy survives other cameras, compression and resizing.

    python evaluate/main_robustness.py ../shared/ham10000
    python evaluate/main_robustness.py ../shared/ham10000 --also ../shared/elsewhere

Every photograph of the validation part of the training images and of the test images is changed in ten ways
(``evaluate/shifts.py``) and classified. Recipes are to be chosen by the validation part alone. The table goes into
``robustness.json`` next to the score card, whose command then shows it. It takes minutes. ``--also`` adds tables of the
validation and test parts of other sources.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluate import robustness
from evaluate.arguments import UsageError, add_also_option, add_bootstrap_options, ensure_writable_folder
from evaluate.dataset import FOLDERS, METADATA, DataError, Example, find_examples
from evaluate.held_out import held_out
from evaluate.main_evaluate import ELSEWHERE, OUTPUT, ROBUSTNESS, ROOT, split_elsewhere
from evaluate.predictions import Predictions, in_known_order, model_of
from evaluate.report import robustness_table
from evaluate.robustness import Robustness
from evaluate.shifts import SHIFTS
from evaluate.sources import find_sources
from handler.checkpoint import Checkpoint, CheckpointError
from handler.engines import Classifier

VALIDATION, TEST = "validation", "test"


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
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
    except (UsageError, DataError, CheckpointError, OSError) as error:
        print(f"main_robustness.py: error: {error}", file=sys.stderr)
        return 2
    print(robustness_table(made))
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(description="Measure a trained model's accuracy on photographs changed in ten ways.")
    p.add_argument("root", type=Path, help=f"folder with {METADATA}, {FOLDERS['train']}/ and {FOLDERS['test']}/")
    p.add_argument(
        "--modelname", type=Path, default=ROOT / "model_store/model_mlbio.pth", help="checkpoint to evaluate"
    )
    p.add_argument(
        "--sets",
        nargs="+",
        choices=(VALIDATION, TEST),
        default=[VALIDATION, TEST],
        help="images to change (default: both)",
    )
    p.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=OUTPUT,
        help=f"folder of {ROBUSTNESS} (default: model_store/score_card)",
    )
    p.add_argument("--answers", type=Path, metavar="DIR", help="folder for the answers, for main_compare.py")
    add_also_option(p)
    add_bootstrap_options(p)
    return p


def examples_of(root: Path, name: str, checkpoint: Checkpoint) -> list[Example]:
    """The set called ``name``."""
    return find_examples(root, TEST) if name == TEST else held_out(find_examples(root, "train"), checkpoint)


def keep(
    answers: Mapping[str, np.ndarray], examples: list[Example], folder: Path, name: str, model: tuple[str, str]
) -> None:
    """Write the answers under each shift to files such as ``validation_blur_of_1.5_px.csv``."""
    inside = [replace(example, path=Path(example.path.name)) for example in examples]
    for shift, probabilities in answers.items():
        words = "_".join(re.findall(r"[\w.]+", f"{name} {shift}"))
        Predictions(inside, probabilities, model=model).write(folder / f"{words}.csv")


if __name__ == "__main__":
    sys.exit(main())
