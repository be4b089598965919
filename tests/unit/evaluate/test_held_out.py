"""Which training images a checkpoint has not learned from."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluate.dataset import DataError, find_examples, split_by_lesion
from evaluate.held_out import held_out
from handler.checkpoint import Checkpoint
from tests.tiny_ham10000 import make_root


@pytest.mark.parametrize(
    "recipe", [{"validation_fraction": 0.4, "split_seed": 3}, {"validation": 0.4, "split_seed": 3}]
)
def test_they_are_those_of_the_run(tmp_path: Path, recipe: dict):
    examples = find_examples(make_root(tmp_path), "train")
    train, validation = split_by_lesion(examples, 0.4, 3)
    assert held_out(examples, Checkpoint({}, training={"images": len(train), "recipe": recipe})) == validation


def test_another_set_than_the_runs_is_refused(tmp_path: Path):
    examples = find_examples(make_root(tmp_path), "train")
    with pytest.raises(DataError, match="the model learned from 7228 images, and these would give it"):
        held_out(examples, Checkpoint({}, training={"images": 7228}))
