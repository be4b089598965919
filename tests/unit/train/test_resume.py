"""The resume file and the identity of a run."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from api.arguments import UsageError
from evaluate.dataset import DataError, find_examples
from tests.tiny_ham10000 import change_metadata, first_image
from train.augment import Augmentation
from train.recipe import Recipe
from train.resume import Progress, RunIdentity, images_digest, load_progress, refuse_seen

IDENTITY = RunIdentity(
    epochs=2,
    seed=0,
    recipe=Recipe(),
    images=22,
    images_sha256="ab",
    init="random.pth",
    init_sha256="cd",
    processes=1,
)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", {"other": 1}, {"identity": None}, IDENTITY.facts()])
def test_a_resume_file_that_does_not_fit_is_ignored(tmp_path, capsys, content):
    path = tmp_path / "m.resume.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    assert load_progress(path, IDENTITY) is None
    assert "is ignored" in capsys.readouterr().out
    assert load_progress(path, IDENTITY, verbose=False) is None
    assert capsys.readouterr().out == ""


def test_a_resume_file_of_the_same_run_is_read(tmp_path):
    progress = Progress(1, {"core": {"weight": torch.ones(2)}}, {"best_score": -math.inf, "history": []})
    identity = replace(IDENTITY, before={"epoch": 3, "history": [{"loss": 0.5}]})
    progress.save(tmp_path / "m.resume.pth", identity)
    read = load_progress(tmp_path / "m.resume.pth", identity)
    assert read.epoch == 1 and read.validation == progress.validation
    assert torch.equal(read.learner["core"]["weight"], torch.ones(2))
    assert load_progress(tmp_path / "none.pth", identity) is None


@pytest.mark.parametrize(
    "change, name",
    [
        ({"epochs": 3}, "epochs"),
        ({"recipe": replace(Recipe(), augmentation=Augmentation(rotation=0.0))}, "recipe"),
        ({"images": 23, "images_sha256": "ef"}, "images, image files or labels"),
        ({"init_sha256": "ef"}, "starting weights"),
        ({"before": {"epoch": 3}}, "training of the starting weights"),
        ({"sources": {"bcn": 3}, "sources_sha256": "ef"}, "sources, image files or labels of other sources"),
    ],
)
def test_a_run_that_differs_is_named_by_its_difference(tmp_path, capsys, change, name):
    path = tmp_path / "m.resume.pth"
    Progress(1, {}, {}).save(path, IDENTITY)
    assert load_progress(path, replace(IDENTITY, **change)) is None
    assert f"{path} belongs to another run (different: {name}) and is ignored\n" == capsys.readouterr().out


def test_the_images_digest_depends_on_content_and_label(root):
    digest = images_digest(find_examples(root, "train"))
    assert digest == images_digest(find_examples(root, "train"))
    content = first_image(root).read_bytes()
    first_image(root).write_bytes(content[:-1] + b"\0")  # the same name and size
    assert images_digest(find_examples(root, "train")) != digest
    first_image(root).write_bytes(content)
    change_metadata(root, lambda text: text.replace("ISIC_0000000,akiec", "ISIC_0000000,nv"))
    examples = find_examples(root, "train")
    assert images_digest(examples) != digest
    first_image(root).unlink()
    with pytest.raises(DataError, match=r"ISIC_0000000\.jpg cannot be read \(No such file"):
        images_digest(examples)


FOLD = {"images_sha256": "ab", "recipe": {"split_seed": 0}, "fold": "2/5"}
SAME = {"images_sha256": "ab", "recipe": {"split_seed": 0, "validation_fraction": 0.1}}


@pytest.mark.parametrize(
    "before, fold",
    [
        (FOLD, None),
        (FOLD, "1/5"),
        (SAME | {"recipe": {"split_seed": 1, "validation_fraction": 0.1}}, None),
        (SAME | {"before": FOLD}, None),
        (SAME | {"mean": [{"weight": 0.5, "training": SAME}, {"weight": 0.5, "training": FOLD}]}, None),
    ],
)
def test_weights_that_were_trained_on_held_out_images_are_refused(before, fold):
    with pytest.raises(UsageError, match="trained on images that this run holds out"):
        refuse_seen(replace(IDENTITY, before=before, fold=fold))


@pytest.mark.parametrize(
    "before", [None, SAME | {"before": SAME}, SAME | {"recipe": {}}, FOLD | {"images_sha256": "?"}]
)
def test_weights_that_were_trained_on_none_of_them_are_accepted(before):
    refuse_seen(replace(IDENTITY, before=before))
    refuse_seen(replace(IDENTITY, before=FOLD, fold="2/5"))


@pytest.mark.parametrize(
    "before", [{"sources": {"milk10k": 9}}, {"mean": [{"weight": 1.0, "training": {"sources": {"milk10k": 9}}}]}]
)
def test_weights_that_learned_from_other_photographs_of_a_held_out_source_are_refused(before: dict):
    run = replace(IDENTITY, before=before, sources={"milk10k": 8})
    with pytest.raises(UsageError, match="trained on 9 photographs of milk10k, and this run would be on 8"):
        refuse_seen(run)
    for sources in ({"milk10k": 9}, {"msk": 8}, None):
        refuse_seen(replace(run, sources=sources))
