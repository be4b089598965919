"""Which images a checkpoint was not trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from evaluate.dataset import DataError, Example, Fold, find_examples, split_by_lesion, split_fold
from evaluate.sources import HAM10000, HELD_OUT_SOURCES, Sources, Split, by_source, split_sources
from handler.model.checkpoint import Checkpoint

FRACTION = 0.1
"""Held-out share of each class's lesions, for checkpoints that do not record it."""


def split_again(examples: list[Example], checkpoint: Checkpoint) -> tuple[list[Example], list[Example]]:
    """``(train, validation)`` of the training images ``examples``, as in the run that made ``checkpoint``.

    Raises:
        DataError: the run had other images, or the checkpoint does not record their number.
    """
    recipe = checkpoint.training.get("recipe", {})
    seed = recipe.get("split_seed", 0)
    if fold := checkpoint.training.get("fold"):
        train, validation = split_fold(examples, Fold.parse(fold), seed)
    else:
        fraction = recipe.get("validation_fraction", recipe.get("validation", FRACTION))
        train, validation = split_by_lesion(examples, fraction, seed)
    images = checkpoint.training.get("images")
    if images != len(train):
        raise DataError(
            f"the model was trained on {images} images, and would be on {len(train)} of these: give the folder that it "
            "was trained on"
        )
    return train, validation


def split_sources_again(others: Sequence[Example], validation: Sequence[Example], checkpoint: Checkpoint) -> Split:
    """The split of ``others``, photographs of other sources, as in the run that made ``checkpoint``.

    Args:
        others: the examples of :func:`evaluate.sources.find_sources`.
        validation: HAM10000's validation images.
        checkpoint: if it was not trained on other sources, any photographs are accepted.

    Raises:
        DataError: the run had other photographs of a source with held-out parts.
    """
    split = split_sources(others, validation)
    counts = Counter(example.source for example in split.train)
    trained_on = checkpoint.training.get("sources", {})
    for source in HELD_OUT_SOURCES:
        if source in trained_on and trained_on[source] != counts[source]:
            raise DataError(
                f"the model was trained on {trained_on[source]} photographs of {source}, and would be on "
                f"{counts[source]} of these: give the folders that it was trained on"
            )
    return split


def split_all_again(
    examples: list[Example], others: Sequence[Example], checkpoint: Checkpoint
) -> tuple[list[Example], dict[str, list[Example]]]:
    """``(train, validation)`` as in the run that made ``checkpoint``; validation images by source, HAM10000's first.

    Args:
        examples: HAM10000's training images.
        others: photographs of other sources, none or all that the run had.
        checkpoint: of the run.

    Raises:
        DataError: the run had other images.
    """
    train, validation = split_again(examples, checkpoint)
    elsewhere = split_sources_again(others, validation, checkpoint)
    return train + elsewhere.train, {HAM10000: validation} | by_source(elsewhere.validation)


def split_elsewhere(sources: Sources, root: Path, checkpoint: Checkpoint) -> Split:
    """The parts of ``sources`` for a model that was trained on the images under ``root``.

    Raises:
        DataError: nothing is held out, or the model was trained on other images.
    """
    _, validation = split_again(find_examples(root, "train"), checkpoint)
    split = split_sources_again(sources.examples, validation, checkpoint)
    if not split.validation or not split.test:
        raise DataError(f"--also has too few photographs of {', '.join(HELD_OUT_SOURCES)} to hold some out")
    return split
