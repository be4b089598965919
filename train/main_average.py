"""Average the weights of models that were trained on from the same one, and fit the mean as main_train.py does.

    python train/main_average.py ../shared/ham10000 --models model_store/model_mlbio.pth cameras.pth --output mean.pth
    python train/main_average.py ../shared/ham10000 --models a.pth b.pth --weights 4 1 --weights 3 2 --output mean.pth
    python train/main_average.py ../shared/ham10000 --also ../shared/elsewhere --models mine.pth --output fitted.pth

A mean answers in one pass, as each of the models. The models must have been trained on the same images. Figures of
each model and mean, on the images that none of them learned from, show whether it was worth it. Of several means, the
one with the best score on these images is kept (``train.calibrate.best_score``). A single model is only fitted again.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from evaluate.arguments import UsageError, add_also_option, ensure_writable
from evaluate.dataset import FOLDERS, METADATA, DataError, find_examples
from evaluate.held_out import split_sources_again
from evaluate.metrics import accuracy, balanced_accuracy
from evaluate.roc import macro_auroc
from evaluate.sources import HAM10000, by_source, find_sources
from handler.checkpoint import Checkpoint, CheckpointError
from train.average import mean_of, split_of_all
from train.calibrate import Part, best_score, complete, fit_bias, predict
from train.processes import Processes
from train.validation import facts_of, large_enough, load_parts, squares_for_novelty


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        ensure_writable(arguments.output, "--output")
        checkpoints = [Checkpoint.load(path) for path in arguments.models]
        means = [mean_of(checkpoints, weights) for weights in arguments.weights or [[1.0] * len(checkpoints)]]
        learned, held_out = split_of_all(find_examples(arguments.root, "train"), checkpoints)
        also = find_sources(arguments.also).examples
        others, *_ = [split_sources_again(also, held_out, checkpoint) for checkpoint in checkpoints]
        learned = large_enough(learned + others.train, checkpoints[0])
        parts = {HAM10000: held_out} | by_source(others.validation)
        device = Processes().device(arguments.device)
        squares = load_parts(parts)
        for path, checkpoint in zip(arguments.models, checkpoints, strict=True):
            score_of(checkpoint, str(path), squares, device)
        scores = [score_of(mean, f"mean ({shares_of(mean)})", squares, device) for mean in means]
        mean = means[int(np.argmax(scores))]
        familiar = squares_for_novelty(learned)
        mean.training["validation"] = facts_of(complete(mean, familiar, list(squares.values()), device), list(parts))
        mean.save(arguments.output)
    except (UsageError, DataError, CheckpointError, OSError) as error:
        print(f"main_average.py: error: {error}", file=sys.stderr)
        return 2
    print(f"the mean ({shares_of(mean)}) is in {arguments.output}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(description="Average the weights of models that were trained on from the same one.")
    p.add_argument("root", type=Path, help=f"folder with {METADATA} and {FOLDERS['train']}/")
    add_also_option(p)
    p.add_argument("--models", nargs="+", type=Path, required=True, metavar="PTH", help="checkpoints of main_train.py")
    p.add_argument(
        "--weights",
        nargs="+",
        action="append",
        type=share,
        metavar="W",
        help="of each model (default: all the same); give it several times to keep the best mean",
    )
    p.add_argument("--output", type=Path, required=True, metavar="PTH", help="checkpoint to write")
    p.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    return p


def share(text: str) -> float:
    """A weight, for argparse."""
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 0")
    return weight


def score_of(checkpoint: Checkpoint, name: str, parts: Mapping[str, Part], device: torch.device) -> float:
    """Print figures of ``checkpoint`` on each of ``parts`` (squares and labels), and return its ``best_score``."""
    network = checkpoint.network().to(device).to(memory_format=torch.channels_last)
    logits = [(predict(network, squares, device)[1], labels) for squares, labels in parts.values()]
    bias = fit_bias(logits)
    for part, (answers, labels) in zip(parts, logits, strict=True):
        print(f"{name}, {part}: {line_of(answers + bias, labels)}", flush=True)
    return best_score(logits)


def shares_of(mean: Checkpoint) -> str:
    """The share of each model in ``mean``, such as 0.7, 0.3."""
    return ", ".join(f"{part['weight']:.3g}" for part in mean.training["mean"])


def line_of(logits: np.ndarray, labels: np.ndarray) -> str:
    """Figures of ``logits`` (N, C) for ``labels`` (N,)."""
    probabilities = softmax(logits, axis=1)
    return (
        f"accuracy {accuracy(probabilities, labels):.3f}, balanced accuracy "
        f"{balanced_accuracy(probabilities, labels):.3f}, macro AUROC {macro_auroc(probabilities, labels):.3f}"
    )


if __name__ == "__main__":
    sys.exit(main())
