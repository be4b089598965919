"""Draw the curve of accuracy against balanced accuracy over strengths of the bias of rare classes.

    python train/main_trade_off.py ../shared/ham10000
    python train/main_trade_off.py ../shared/ham10000 --also ../shared/elsewhere
    python train/main_trade_off.py --answers folds/fold_*.csv --modelname model_store/mine.pth

The images are the validation part of the training images, with ``--also`` those of other sources as well, or those of
the answers that ``main_train.py --fold`` keeps.
The curve goes into ``trade_off.json`` beside the score card, whose command then shows it with figures of the card's own
images; ``make archive`` packs it, and MLBIO_BIAS_STRENGTH moves the service along it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch

from api.classes import CLASSES, class_indices
from evaluate import trade_off
from evaluate.arguments import UsageError, add_also_option, add_bootstrap_options, ensure_writable_folder
from evaluate.dataset import FOLDERS, METADATA, DataError, Example, find_examples, load_squares
from evaluate.held_out import held_out, split_sources_again
from evaluate.main_evaluate import OUTPUT, ROOT, TRADE_OFF
from evaluate.predictions import Predictions, model_of
from evaluate.report import trade_off_table
from evaluate.sources import HAM10000, by_source, find_sources
from handler.checkpoint import Checkpoint, CheckpointError
from train.calibrate import predict
from train.trade_off import fit_trade_off, on_scale_of


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        if bool(arguments.root) == bool(arguments.answers):
            raise UsageError("give either root, or --answers")
        if arguments.also and arguments.answers:
            raise UsageError("--also needs root: the answers of folds are to images of HAM10000")
        ensure_writable_folder(arguments.output, "--output")
        checkpoint = Checkpoint.load(arguments.modelname)
        if arguments.answers:
            logits, examples = kept_logits(arguments.answers)
            logits = on_scale_of(checkpoint, logits, np.array([example.label for example in examples]))
            parts = {HAM10000: (logits, examples)}
            words = f"{len(arguments.answers)} folds, each by a network that was not trained on it"
        else:
            examples = held_out(find_examples(arguments.root, "train"), checkpoint)
            others = split_sources_again(find_sources(arguments.also).examples, examples, checkpoint)
            images = {HAM10000: examples} | by_source(others.validation)
            parts = {name: (logits_of(checkpoint, part), part) for name, part in images.items()}
            words = "validation images of this model"
            if len(parts) > 1:
                counts = ", ".join(f"{len(part)} of {name}" for name, part in images.items())
                words += f": {counts}, with equal weight of each source"
        made = fit_trade_off(
            checkpoint, model_of(arguments.modelname)[1], parts, words, arguments.resamples, arguments.seed
        )
        trade_off.write(made, arguments.output / TRADE_OFF)
    except (UsageError, DataError, CheckpointError, OSError) as error:
        print(f"main_trade_off.py: error: {error}", file=sys.stderr)
        return 2
    print(trade_off_table(made))
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(description="Fit the trade-off curve of the bias of rare classes to held-out answers.")
    p.add_argument("root", nargs="?", type=Path, help=f"folder with {METADATA} and {FOLDERS['train']}/")
    add_also_option(p)
    p.add_argument(
        "--answers", nargs="+", type=Path, metavar="CSV", help="instead of root: answers that main_train.py --fold kept"
    )
    p.add_argument(
        "--modelname", type=Path, default=ROOT / "model_store/model_mlbio.pth", help="checkpoint that will serve"
    )
    p.add_argument(
        "--output", type=Path, metavar="DIR", default=OUTPUT, help=f"folder of {TRADE_OFF} (default: {OUTPUT.name})"
    )
    add_bootstrap_options(p)
    return p


def kept_logits(paths: list[Path]) -> tuple[np.ndarray, list[Example]]:
    """Logits (N, classes) up to a constant of each row, and the images, of files with uncalibrated probabilities.

    Raises:
        DataError: a file is not such a file, or two of them answer the same image.
    """
    parts = [Predictions.read(path) for path in paths]
    examples = [example for part in parts for example in part.examples]
    if len({example.path for example in examples}) < len(examples):
        raise DataError("--answers: two of the files answer the same image; give each fold once")
    probabilities = np.concatenate([part.probabilities for part in parts]).astype(float)
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)), examples


def logits_of(checkpoint: Checkpoint, examples: list[Example]) -> np.ndarray:
    """The network's logits (N, classes) in the order of ``CLASSES``, in float32."""
    squares = load_squares(examples, os.cpu_count() or 1, "decoding validation images")
    _, answers = predict(checkpoint.network().to(memory_format=torch.channels_last), squares, torch.device("cpu"))
    logits = np.full((len(squares), len(CLASSES)), -np.inf)
    logits[:, class_indices(checkpoint.classes)] = answers
    return logits


if __name__ == "__main__":
    sys.exit(main())
