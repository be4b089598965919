"""The training command on a tiny folder: what it refuses, what a run leaves, and how it goes on."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import shutil
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from api.classes import CLASSES
from api.photograph import open_photograph
from evaluate.dataset import find_examples
from handler.model.checkpoint import Checkpoint
from handler.model.images import network_square
from tests.tiny_ham10000 import IMAGES, change_metadata, first_image, make_root, train_folder
from tests.tiny_sources import make_sources
from train import main_train, training, validation
from train.augment import Augmentation
from train.cameras import Cameras
from train.recipe import SEVERAL_SOURCES, Recipe
from train.resume import images_digest
from train.training import recipe_for
from train.validation import Validation

SMALL = replace(Recipe(), sizes=((1.0, 32),), batch_size=8, stored_size=64)
"""Views of 32 pixels in batches of 8."""

SMALL_SEVERAL = replace(
    SEVERAL_SOURCES, sizes=((0.5, 32), (1.0, 40)), batch_size=8, stored_size=64, least_side=2.5, ham10000_share=0.4
)
"""Views of 32 pixels, and then of 40, for which photographs of 84 pixels are too small."""


def run(capsys, *arguments: object, recipe: Recipe = SMALL) -> tuple[int, str, str]:
    """Exit code, output and errors of the command with a small recipe."""
    code = main_train.main([str(a) for a in arguments], recipe)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# The command line


def refusal(capsys, *arguments: object) -> str:
    """The message, of at most ten lines, of a command that cannot work, before it trains anything."""
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("main_train.py: error: ") and err.count("\n") <= 10 and err.endswith("\n")
    return err


@pytest.mark.parametrize(
    "options, expected",
    [
        ([], "arguments are required: root"),
        (["DATA", "--epochs", "0"], "0 is not a whole number of at least 1"),
        (["DATA", "--epochs", "²"], "² is not a whole number of at least 1"),
        (["DATA", "--seed", "-1"], "-1 is not a whole number of at least 0"),
    ],
)
def test_wrong_options_are_refused(capsys, options, expected):
    with pytest.raises(SystemExit) as done:
        main_train.main(options)
    assert done.value.code == 2
    assert expected in capsys.readouterr().err


def test_the_documented_defaults_and_the_recipes_of_the_options():
    arguments = main_train.parser().parse_args(["DATA"])
    assert (arguments.epochs, arguments.modelname, recipe_for(arguments)) == (
        15,
        "model_store/model_mlbio.pth",
        Recipe(),
    )
    cameras = recipe_for(main_train.parser().parse_args(["DATA", "--cameras"]))
    assert cameras == replace(Recipe(), augmentation=Augmentation(cameras=Cameras()))
    also = main_train.parser().parse_args(["DATA", "--also", "a", "--also", "b"])
    assert also.also == ["a", "b"] and recipe_for(also) == SEVERAL_SOURCES


def test_models_whose_names_differ_after_a_dot_share_no_file():
    names = ["v1.1", "v1.2", "lr0.1.pth", "lr0.3.pth"]
    assert [training.run_file(Path("folds", name), ".csv").as_posix() for name in names] == [
        "folds/v1.1.csv",
        "folds/v1.2.csv",
        "folds/lr0.1.csv",
        "folds/lr0.3.csv",
    ]


# What cannot work is refused in one line before the first epoch. Every fault of the folder: test_dataset_layout.py;
# of the weights: test_weights.py; of the device: test_hardware.py.


def without_images(root: Path) -> None:
    for image in train_folder(root).rglob("*.jpg"):
        image.write_bytes(b"x")


def damaged_held_out_images(root: Path) -> None:
    for lesion in ("part_1", "part_2"):  # two of three lesions are trained on
        for image in (train_folder(root) / lesion).rglob("*.jpg"):
            image.write_bytes(image.read_bytes()[:700])


@pytest.mark.parametrize(
    "spoil, options, expected",
    [
        (shutil.rmtree, [], "is not a folder: give the one that holds"),
        (
            lambda root: change_metadata(root, lambda text: text.replace("ISIC_0000000,akiec", "ISIC_0000000,scc")),
            [],
            "line 2: found the diagnosis 'scc'",
        ),
        (without_images, [], ".jpg: not an image that can"),
        (damaged_held_out_images, [], "is damaged or cut short"),
        # No image can be decoded: these are checked before.
        (without_images, ["--init", "none.pth"], "--init none.pth does not exist"),
        (without_images, ["--modelname", "."], "--modelname . cannot be written"),
        (without_images, ["--device", "gpu"], "--device gpu cannot be used"),
        (without_images, ["--also", "nowhere"], "nowhere is not a folder: give one that holds metadata.csv and images"),
    ],
)
def test_what_cannot_work_is_refused(capsys, root, tmp_path, init, spoil, options, expected):
    spoil(root)
    command = [root, "--init", init, "--modelname", tmp_path / "m.pth", "--device", "cpu", *options]
    assert expected in refusal(capsys, *command)
    assert not (tmp_path / "m.pth").exists()


def test_weights_that_know_the_held_out_images_are_refused_before_any_image_is_decoded(
    capsys, root, tmp_path, init, monkeypatch
):
    without_images(root)
    earlier = {"images_sha256": images_digest(find_examples(root, "train")), "fold": "1/2"}
    monkeypatch.setattr(training, "previous_training", lambda init: earlier)
    assert "--init was trained on images" in refusal(capsys, root, "--init", init, "--modelname", tmp_path / "m.pth")


def test_starting_weights_that_the_run_would_overwrite_are_refused(capsys, root, tmp_path, init):
    model = tmp_path / "m.pth"
    model.write_bytes(init.read_bytes())
    message = refusal(capsys, root, "--init", tmp_path / "." / "m.pth", "--modelname", model, "--device", "cpu")
    assert "--init and --modelname are one file" in message and model.read_bytes() == init.read_bytes()


def test_an_unreadable_photograph_of_another_source_is_refused(capsys, root, tmp_path, init):
    also = make_sources(tmp_path / "elsewhere")
    (also / "images/bcn/bcn_nv_11.png").write_bytes(b"x")
    command = [root, "--init", init, "--modelname", tmp_path / "m.pth", "--device", "cpu", "--also", also]
    code, _, err = run(capsys, *command)
    assert code == 2 and "bcn_nv_11.png: not an image that can" in err and err.count("\n") == 1


# Whole runs


@pytest.fixture(scope="module", autouse=True)
def small_validation(one_thread):
    """Validation on squares of 64 pixels."""

    def small_squares(examples, workers, description):
        return np.stack([network_square(open_photograph(e.path.read_bytes()), 64) for e in examples])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "load_squares", small_squares)
        yield


def increasing():
    """A selection score that rises with every call, so that each epoch is the best so far."""
    calls = itertools.count(1)
    return lambda parts: next(calls) / 1000


class WholeRun(NamedTuple):
    path: Path
    out: str
    checkpoint: Checkpoint
    indices: list[np.ndarray]
    progress: list[float]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, init) -> WholeRun:
    """Two epochs without a break, in a folder with the files of another run."""
    folder = tmp_path_factory.mktemp("whole")
    root = make_root(folder / "ham10000")
    path = folder / "not yet there" / "tiny.pth"
    path.parent.mkdir()
    torch.save({"identity": {"seed": 99}, "epoch": 1}, path.with_suffix(".resume.pth"))
    path.write_bytes(b"the model of another run")
    indices, progress, out = [], [], io.StringIO()
    sample_indices, set_learning_rate = training.sample_indices, training.set_learning_rate
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(training, "sample_indices", lambda *a: indices.append(sample_indices(*a)) or indices[-1])
        patch.setattr(training, "set_learning_rate", lambda *a: progress.append(a[1]) or set_learning_rate(*a))
        patch.setattr(validation, "selection_score", increasing())
        arguments = ["--seed", "3", "--epochs", "2", "--init", str(init), "--modelname", str(path), str(root)]
        assert main_train.main([*arguments, "--device", "cpu"], SMALL) == 0
    return WholeRun(path, out.getvalue(), Checkpoint.load(path), indices, progress)


def test_a_run_leaves_one_small_checkpoint_that_records_how_it_was_made(whole_run):
    assert [p.name for p in whole_run.path.parent.iterdir()] == ["tiny.pth"]
    assert whole_run.path.stat().st_size < 50_000_000
    checkpoint, facts = whole_run.checkpoint, whole_run.checkpoint.training
    assert checkpoint.classes == list(CLASSES) and checkpoint.state["fc.weight"].shape == (7, 512)
    assert (facts["epochs"], facts["epoch"], facts["seed"], facts["init"]) == (2, 2, 3, "random.pth")
    chosen = asdict(SMALL, dict_factory=lambda items: {name: value for name, value in items if value is not None})
    assert facts["recipe"] == chosen
    assert [entry["epoch"] for entry in facts["history"]] == [1, 2]
    (validated,) = facts["validation"].values()
    assert list(facts["validation"]) == ["HAM10000"] and facts["images"] + validated["images"] == IMAGES
    assert list(validated["sensitivity"]) == list(CLASSES)
    assert 0 <= validated["expected_calibration_error"] <= 1
    assert "sources" not in facts and "sources_sha256" not in facts


def test_each_epoch_samples_anew_and_the_learning_rate_continues(whole_run):
    first, second = whole_run.indices
    assert len(first) == len(second) and not (first == second).all()
    total = 2 * len(first) // 8
    assert whole_run.progress == pytest.approx([(step + 1) / total for step in range(total)])


def test_a_run_prints_its_validation_after_each_epoch(whole_run):
    lines = [line.strip() for line in whole_run.out.splitlines()]
    printed = [json.loads(line.removeprefix("validation: ")) for line in lines if line.startswith("validation: ")]
    assert printed == whole_run.checkpoint.training["history"]
    assert any("training images" in line and "akiec 4, bcc 4" in line for line in lines[:2])
    assert lines[-1].startswith("best epoch 2: validation on HAM10000: balanced accuracy")
    assert lines[-1].endswith(f"-> {whole_run.path}")
    assert "belongs to another run (different: epochs, seed, recipe, images, " in whole_run.out


def interrupt_validation(patch: pytest.MonkeyPatch, epoch: int) -> None:
    """Interrupt the validation of an epoch, the first time that it is reached."""
    add_epoch, calls = Validation.add_epoch, itertools.count(1)

    def interrupt(*arguments):
        if next(calls) == epoch:
            raise KeyboardInterrupt
        add_epoch(*arguments)

    patch.setattr(Validation, "add_epoch", interrupt)


def change_an_image(root: Path) -> None:
    content = first_image(root).read_bytes()
    first_image(root).write_bytes(content.replace(b"JFIF\0\1\1", b"JFIF\0\1\2"))
    assert first_image(root).read_bytes() != content and first_image(root).stat().st_size == len(content)


def change_a_photograph_of_another_source(root: Path) -> None:
    path = root.parent / "elsewhere/images/bcn/bcn_nv_11.png"
    Image.new("RGB", (84, 84), (90, 80, 70)).save(path)


@pytest.mark.parametrize(
    "change, also, name",
    [
        (change_an_image, False, "image files or labels"),
        (change_a_photograph_of_another_source, True, "image files or labels of other sources"),
    ],
)
def test_a_run_on_changed_images_starts_from_the_beginning(
    root, init, tmp_path, capsys, monkeypatch, change, also, name
):
    path = tmp_path / "tiny.pth"
    command = [root, "--epochs", 2, "--init", init, "--modelname", path, "--device", "cpu"]
    if also:
        command += ["--also", make_sources(root.parent / "elsewhere")]
    epochs = []

    def record(*arguments, epoch, **options):
        epochs.append(epoch)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        interrupt_validation(patch, epoch=2)
        patch.setattr(training, "train_epoch", lambda *_, **__: validation.EpochMetrics(1, 32, 1.0, 0.5, 1.0))
        assert run(capsys, *command)[0] == 130
    monkeypatch.setattr(training, "train_epoch", record)
    code, out, _ = run(capsys, *command)
    assert code == 130 and epochs == [1] and "resuming after epoch 1 of 2" in out  # unchanged

    change(root)
    code, out, _ = run(capsys, *command)
    assert code == 130 and epochs == [1, 0] and "resuming" not in out
    assert f"tiny.resume.pth belongs to another run (different: {name}) and is ignored" in out


# Several sources


class SeveralRun(NamedTuple):
    command: list[object]
    out: str
    checkpoint: Checkpoint
    epochs: list[Counter]
    """How often each epoch has photographs of a source."""


@pytest.fixture(scope="module")
def several_run(tmp_path_factory, init) -> SeveralRun:
    """Two epochs of three sources without a break."""
    folder = tmp_path_factory.mktemp("several")
    root, also = make_root(folder / "ham10000", side=112), make_sources(folder / "elsewhere")
    learned, epochs, out = [], [], io.StringIO()
    load_training_set, sample_indices = training.load_training_set, training.sample_indices

    def sample(*arguments):
        indices = sample_indices(*arguments)
        epochs.append(Counter(learned[i].source for i in indices))
        return indices

    def load(examples, *arguments):
        learned.extend(examples)
        return load_training_set(examples, *arguments)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(training, "sample_indices", sample)
        patch.setattr(training, "load_training_set", load)
        patch.setattr(validation, "selection_score", increasing())
        command = [root, "--also", also, "--epochs", "2", "--init", init, "--device", "cpu", "--modelname"]
        assert main_train.main([*map(str, command), str(folder / "m.pth")], SMALL_SEVERAL) == 0
    return SeveralRun(command, out.getvalue(), Checkpoint.load(folder / "m.pth"), epochs)


@pytest.mark.slow
def test_each_source_has_its_share_and_small_photographs_only_the_first_epochs(several_run):
    first, second = several_run.epochs
    assert first.keys() == {"", "bcn", "milk10k"} and second.keys() == {"", "milk10k"}
    for epoch in (first, second):  # which images are sampled is partly chance
        assert epoch.total() % 8 == 0 and epoch[""] == pytest.approx(0.4 * epoch.total(), abs=4)
    assert first[""] > several_run.checkpoint.training["images"]


@pytest.mark.slow
def test_a_run_of_several_sources_records_and_prints_what_it_uses(several_run):
    facts = several_run.checkpoint.training
    held_out = {name: part["images"] for name, part in facts["validation"].items()}
    assert list(held_out) == ["HAM10000", "milk10k"] and facts["images"] + held_out["HAM10000"] == IMAGES
    assert facts["sources"]["bcn"] == 28 and facts["sources"]["milk10k"] + held_out["milk10k"] < 56
    assert len(facts["sources_sha256"]) == 64 != facts["images_sha256"]
    assert facts["recipe"]["ham10000_share"] == 0.4 and facts["recipe"]["augmentation"]["cameras"]
    assert [(list(e["validation"]), e["size"]) for e in facts["history"]] == [
        (list(held_out), 32),
        (list(held_out), 40),
    ]
    first, second, third, *_, last = several_run.out.splitlines()
    learned, validated = sum(facts["sources"].values()), held_out["milk10k"]
    assert first == "other sources: 28 of bcn, 56 of milk10k; 12 of other diseases are left out (scc 12)"
    assert str(learned) in second and str(84 - learned - validated) in second
    assert third.startswith(f"{facts['images'] + learned} training images, validation on ")
    assert f" of HAM10000, {validated} of milk10k; HAM10000 has akiec 4, bcc 4" in third
    assert last.startswith("best epoch 2: validation on HAM10000: balanced accuracy") and "; milk10k: balanced" in last


@pytest.mark.slow
def test_an_interrupted_run_ends_where_the_whole_one_does(several_run, init, tmp_path, capsys, monkeypatch):
    path = tmp_path / "m.pth"
    command = [*several_run.command, path]
    monkeypatch.setattr(validation, "selection_score", increasing())
    interrupt_validation(monkeypatch, epoch=2)
    # The second epoch of the first try would be thrown away: it is not computed.
    train_epoch, epochs = training.train_epoch, []

    def once(*arguments, epoch, **options):
        epochs.append(epoch)
        if epochs == [0, 1]:
            return validation.EpochMetrics(2, 40, 1.0, 0.5, 1.0)
        return train_epoch(*arguments, epoch=epoch, **options)

    monkeypatch.setattr(training, "train_epoch", once)
    code, _, err = run(capsys, *command, recipe=SMALL_SEVERAL)
    assert code == 130 and "interrupted: the same command resumes" in err and "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.pth", "m.resume.pth"]
    assert Checkpoint.load(path).training["epoch"] == 1
    code, out, _ = run(capsys, *command, recipe=SMALL_SEVERAL)
    assert code == 0 and epochs == [0, 1, 1] and "resuming after epoch 1 of 2" in out
    assert [p.name for p in tmp_path.iterdir()] == ["m.pth"]
    resumed, whole = Checkpoint.load(path), several_run.checkpoint
    assert [e["loss"] for e in resumed.training["history"]] == [e["loss"] for e in whole.training["history"]]
    for name, value in whole.state.items():
        torch.testing.assert_close(resumed.state[name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert resumed.bias == pytest.approx(whole.bias, rel=1e-3)
    assert resumed.temperature == pytest.approx(whole.temperature, rel=1e-3)
    started = torch.load(init, weights_only=True)["layer4.2.conv2.weight"].float()
    assert (resumed.state["layer4.2.conv2.weight"] - started).abs().max() > 5e-4  # it learned: the test can fail
