"""Which images a checkpoint was not trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluate.dataset import DataError, Example, find_examples, split_by_lesion
from evaluate.held_out import split_again, split_sources_again
from evaluate.sources import split_sources
from handler.model.checkpoint import Checkpoint
from tests.tiny_ham10000 import make_root


@pytest.mark.parametrize(
    "recipe", [{"validation_fraction": 0.4, "split_seed": 3}, {"validation": 0.4, "split_seed": 3}]
)
def test_they_are_those_of_the_run(tmp_path: Path, recipe: dict):
    examples = find_examples(make_root(tmp_path), "train")
    train, validation = split_by_lesion(examples, 0.4, 3)
    checkpoint = Checkpoint({}, training={"images": len(train), "recipe": recipe})
    assert split_again(examples, checkpoint) == (train, validation)


def test_another_set_than_the_runs_is_refused(tmp_path: Path):
    examples = find_examples(make_root(tmp_path), "train")
    with pytest.raises(DataError, match="the model was trained on 7228 images, and would be on"):
        split_again(examples, Checkpoint({}, training={"images": 7228}))


OTHERS = [Example(Path(f"{n}.jpg"), 0, str(n), source=source) for n in range(20) for source in ("milk10k", "msk")]


@pytest.mark.parametrize("sources", [None, {"msk": 5}, {"milk10k": 15}, {"milk10k": 15, "msk": 5}])
def test_parts_of_other_sources_are_those_of_the_run_or_of_any_if_it_had_none(sources: dict | None):
    training = {} if sources is None else {"sources": sources}
    assert split_sources_again(OTHERS, [], Checkpoint({}, training=training)) == split_sources(OTHERS, [])


@pytest.mark.parametrize("count, others", [(14, OTHERS), (15, []), (15, OTHERS[:20])])
def test_other_photographs_of_a_held_out_source_than_the_runs_are_refused(count: int, others: list[Example]):
    checkpoint = Checkpoint({}, training={"sources": {"milk10k": count}})
    expected = f"the model was trained on {count} photographs of milk10k, and would be on "
    with pytest.raises(DataError, match=expected):
        split_sources_again(others, [], checkpoint)
