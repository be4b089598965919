"""The training command on a tiny folder: what it refuses, what a run leaves, and how it goes on."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
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
from handler.model.checkpoint import PREPROCESSING, Checkpoint
from handler.model.images import network_square
from tests.tiny_ham10000 import IMAGES, change_metadata, first_image, make_root, train_folder
from tests.tiny_sources import make_sources
from train import main_train, training, validation
from train.recipe import SEVERAL_SOURCES, Recipe
from train.resume import images_digest
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
    """The one line that a command that cannot work must print before it trains anything."""
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("main_train.py: error: ") and err.count("\n") == 1 and err.endswith("\n")
    return err


def test_help_names_root_and_the_documented_options(capsys):
    with pytest.raises(SystemExit) as done:
        main_train.main(["-h"])
    shown = capsys.readouterr().out
    assert done.value.code == 0
    for word in ("--epochs EPOCHS", "--modelname MODELNAME", "root", "default: 15", "model_store/model_mlbio.pth"):
        assert word in shown


@pytest.mark.parametrize(
    "options, expected",
    [
        ([], "arguments are required: root"),
        (["DATA", "--epochs", "0"], "0 is not a whole number of at least 1"),
        (["DATA", "--epochs", "-3"], "-3 is not a whole number of at least 1"),
        (["DATA", "--epochs", "1.5"], "1.5 is not a whole number of at least 1"),
        (["DATA", "--epochs", "²"], "² is not a whole number of at least 1"),
        (["DATA", "--seed", "-1"], "-1 is not a whole number of at least 0"),
        (["DATA", "--unknown"], "unrecognized arguments: --unknown"),
    ],
)
def test_wrong_options_are_refused(capsys, options, expected):
    with pytest.raises(SystemExit) as done:
        main_train.main(options)
    assert done.value.code == 2
    assert expected in capsys.readouterr().err


def test_the_documented_defaults():
    arguments = main_train.parser().parse_args(["DATA"])
    assert arguments.epochs == 15 and arguments.modelname == "model_store/model_mlbio.pth"


@pytest.mark.parametrize("options, recipe", [([], Recipe()), (["--also", "a", "--also", "b"], SEVERAL_SOURCES)])
def test_other_sources_have_a_recipe_of_their_own(monkeypatch, options, recipe):
    chosen = []
    monkeypatch.setattr(training, "train", lambda *arguments: chosen.append(arguments[:2]))
    assert main_train.main(["DATA", *options]) == 0
    assert [(given.also, used) for given, used in chosen] == [(options[1::2], recipe)]


# What cannot work is refused in one line before the first epoch. Every fault of the folder: test_dataset_layout.py;
# of the weights: test_weights.py; of the device: test_processes.py.


@pytest.mark.parametrize(
    "spoil, expected",
    [
        (lambda root: train_folder(root).rename(root / "elsewhere"), "HAM10000_images_train is missing"),
        (
            lambda root: change_metadata(root, lambda text: text.replace("ISIC_0000000,akiec", "ISIC_0000000,scc")),
            "image ISIC_0000000 has dx 'scc'",
        ),
        (
            lambda root: change_metadata(root, lambda text: text.splitlines()[0]),
            "has no row in",
        ),
        (
            lambda root: [image.write_bytes(b"x") for image in train_folder(root).rglob("*.jpg")],
            ".jpg: not an image that can",
        ),
    ],
)
def test_a_fault_of_the_folder_is_refused(capsys, root, tmp_path, init, spoil, expected):
    spoil(root)
    assert expected in refusal(capsys, root, "--init", init, "--modelname", tmp_path / "m.pth", "--device", "cpu")
    assert not (tmp_path / "m.pth").exists()


def test_weights_that_know_the_held_out_images_are_refused_before_any_image_is_decoded(
    capsys, root, tmp_path, init, monkeypatch
):
    for image in train_folder(root).rglob("*.jpg"):
        image.write_bytes(b"x")
    earlier = {"images_sha256": images_digest(find_examples(root, "train")), "fold": "1/2"}
    monkeypatch.setattr(training, "previous_training", lambda init: earlier)
    assert "--init learned from images" in refusal(capsys, root, "--init", init, "--modelname", tmp_path / "m.pth")


def test_an_unreadable_held_out_image_is_refused(capsys, root, tmp_path, init):
    for lesion in ("part_1", "part_2"):  # two of three lesions are trained on
        for image in (train_folder(root) / lesion).rglob("*.jpg"):
            image.write_bytes(image.read_bytes()[:700])
    assert "is damaged or cut short" in refusal(capsys, root, "--init", init, "--modelname", tmp_path / "m.pth")


def test_a_missing_root_is_refused(capsys, tmp_path):
    assert "nowhere is not a folder: give the one that holds" in refusal(capsys, tmp_path / "nowhere")


def test_weights_that_do_not_exist_are_refused(capsys, root, tmp_path):
    arguments = (root, "--init", tmp_path / "none.pth", "--modelname", tmp_path / "m.pth")
    for _ in range(2):
        assert f"--init {tmp_path / 'none.pth'} does not exist" in refusal(capsys, *arguments)
        (tmp_path / "m.pth").write_bytes(b"a model")  # of an earlier run


def test_starting_weights_that_the_run_would_overwrite_are_refused(capsys, root, tmp_path, init):
    model = tmp_path / "m.pth"
    model.write_bytes(init.read_bytes())
    message = refusal(capsys, root, "--init", tmp_path / "." / "m.pth", "--modelname", model, "--device", "cpu")
    assert "--init and --modelname are one file" in message and model.read_bytes() == init.read_bytes()


@pytest.mark.parametrize("target", [".", "a file/model.pth"])
def test_an_output_that_cannot_be_written_is_refused(capsys, root, tmp_path, init, target):
    (tmp_path / "a file").write_text("")
    message = refusal(capsys, root, "--init", init, "--modelname", tmp_path / target)
    assert "--modelname" in message and "cannot be written" in message


def test_a_fault_of_other_sources_is_refused(capsys, root, tmp_path, init):
    also = make_sources(tmp_path / "elsewhere")
    command = [root, "--init", init, "--modelname", tmp_path / "m.pth", "--device", "cpu"]
    message = refusal(capsys, *command, "--also", also, "--also", tmp_path / "nowhere")
    assert "nowhere is not a folder: give one that holds metadata.csv and images" in message
    (also / "images/bcn/bcn_nv_11.png").unlink()
    assert "names bcn_nv_11, and" in refusal(capsys, *command, "--also", also)
    assert not (tmp_path / "m.pth").exists()


def test_an_unreadable_photograph_of_another_source_is_refused(capsys, root, tmp_path, init):
    also = make_sources(tmp_path / "elsewhere")
    (also / "images/bcn/bcn_nv_11.png").write_bytes(b"x")
    command = [root, "--init", init, "--modelname", tmp_path / "m.pth", "--device", "cpu", "--also", also]
    code, _, err = run(capsys, *command)
    assert code == 2 and "bcn_nv_11.png: not an image that can" in err and err.count("\n") == 1


def test_a_device_that_cannot_be_used_is_refused(capsys, root, tmp_path, init):
    message = refusal(capsys, root, "--init", init, "--modelname", tmp_path / "m.pth", "--device", "gpu")
    assert "--device gpu cannot be used" in message


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
    root: Path
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
        patch.setattr(validation, "best_score", increasing())
        arguments = ["--seed", "3", "--epochs", "2", "--init", str(init), "--modelname", str(path), str(root)]
        assert main_train.main([*arguments, "--device", "cpu"], SMALL) == 0
    return WholeRun(root, path, out.getvalue(), Checkpoint.load(path), indices, progress)


def test_a_run_leaves_one_small_file_that_holds_no_code(whole_run):
    path = whole_run.path
    assert [p.name for p in path.parent.iterdir()] == ["tiny.pth"]
    assert path.stat().st_size < 50_000_000
    content = torch.load(path, weights_only=True)
    assert content["architecture"] == "resnet34" and content["format"] == 1
    assert content["classes"] == list(CLASSES) and content["names"] == list(CLASSES.values())
    for name, value in content["state_dict"].items():
        if value.is_floating_point():
            assert value.dtype == (torch.float32 if "running_" in name else torch.float16)
    assert content["state_dict"]["fc.weight"].shape == (7, 512)


def test_each_epoch_samples_anew_and_the_learning_rate_goes_on(whole_run):
    first, second = whole_run.indices
    assert len(first) == len(second) and not (first == second).all()
    total = 2 * len(first) // 8
    assert whole_run.progress == pytest.approx([(step + 1) / total for step in range(total)])


def test_a_checkpoint_records_how_it_was_made(whole_run):
    checkpoint = whole_run.checkpoint
    facts = checkpoint.training
    assert checkpoint.classes == list(CLASSES) and checkpoint.preprocessing == PREPROCESSING
    assert 0.2 <= checkpoint.temperature <= 5
    assert (facts["epochs"], facts["epoch"], facts["seed"], facts["init"]) == (2, 2, 3, "random.pth")
    chosen = asdict(SMALL, dict_factory=lambda items: {name: value for name, value in items if value is not None})
    assert facts["recipe"] == chosen
    assert [entry["epoch"] for entry in facts["history"]] == [1, 2]
    (validated,) = facts["validation"].values()
    assert list(facts["validation"]) == ["HAM10000"] and facts["images"] + validated["images"] == IMAGES
    assert list(validated["sensitivity"]) == list(CLASSES)
    assert 0 <= validated["expected_calibration_error"] <= 1
    assert "sources" not in facts and "sources_sha256" not in facts


def test_a_run_prints_its_validation_after_each_epoch(whole_run):
    lines = [line.strip() for line in whole_run.out.splitlines()]
    printed = [json.loads(line.removeprefix("validation: ")) for line in lines if line.startswith("validation: ")]
    assert printed == whole_run.checkpoint.training["history"]
    assert any("images to learn from" in line and "akiec 4, bcc 4" in line for line in lines[:2])
    assert lines[-1].startswith("best epoch 2: validation on HAM10000: balanced accuracy")
    assert lines[-1].endswith(f"-> {whole_run.path}")


def test_the_resume_file_of_another_run_is_ignored(whole_run):
    assert "belongs to another run (different: epochs, seed, recipe, images, " in whole_run.out


def test_a_checkpoint_classifies(whole_run):
    network = whole_run.checkpoint.network()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def interrupt_validation(patch: pytest.MonkeyPatch, epoch: int) -> None:
    """Interrupt the validation of an epoch, the first time that it is reached."""
    add_epoch, calls = Validation.add_epoch, itertools.count(1)

    def interrupt(*arguments):
        if next(calls) == epoch:
            raise KeyboardInterrupt
        add_epoch(*arguments)

    patch.setattr(Validation, "add_epoch", interrupt)


def test_an_interrupted_run_ends_where_the_whole_one_does(whole_run, init, tmp_path, capsys, monkeypatch):
    whole = whole_run.checkpoint
    path = tmp_path / "tiny.pth"
    command = [whole_run.root, "--seed", 3, "--epochs", 2, "--init", init, "--modelname", path, "--device", "cpu"]
    monkeypatch.setattr(validation, "best_score", increasing())
    interrupt_validation(monkeypatch, epoch=2)
    code, _, err = run(capsys, *command)
    assert code == 130 and "interrupted: the same command goes on" in err and "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.pth", "tiny.resume.pth"]
    assert Checkpoint.load(path).training["epoch"] == 1

    code, out, _ = run(capsys, *command)
    assert code == 0 and "going on after epoch 1 of 2" in out
    assert out.count("validation: ") == 1  # the first epoch is not trained again
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.pth"]
    resumed = Checkpoint.load(path)
    assert resumed.training["epoch"] == 2
    for name, value in whole.state.items():
        torch.testing.assert_close(resumed.state[name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert resumed.temperature == pytest.approx(whole.temperature, rel=1e-3)
    assert [e["loss"] for e in resumed.training["history"]] == [e["loss"] for e in whole.training["history"]]
    started = torch.load(init, weights_only=True)["layer4.2.conv2.weight"].float()
    assert (resumed.state["layer4.2.conv2.weight"] - started).abs().max() > 5e-4  # it learned: the test can fail


def change_an_image(root: Path, init: Path) -> None:
    content = first_image(root).read_bytes()
    first_image(root).write_bytes(content.replace(b"JFIF\0\1\1", b"JFIF\0\1\2"))
    assert first_image(root).read_bytes() != content and first_image(root).stat().st_size == len(content)


def change_a_label(root: Path, init: Path) -> None:
    """Of the second image of a lesion, so that the split stays the same."""
    change_metadata(root, lambda text: text.replace("ISIC_0000002,akiec", "ISIC_0000002,bcc"))


def change_the_weights(root: Path, init: Path) -> None:
    state = torch.load(init, weights_only=True)
    state["conv1.weight"][0, 0, 0, 0] += 1
    torch.save(state, init)


def change_a_photograph_of_another_source(root: Path, init: Path) -> None:
    path = root.parent / "elsewhere/images/bcn/bcn_nv_11.png"
    Image.new("RGB", (84, 84), (90, 80, 70)).save(path)


@pytest.mark.parametrize(
    "change, also, name",
    [
        (change_an_image, False, "image files or labels"),
        (change_a_label, False, "image files or labels"),
        (change_the_weights, False, "starting weights"),
        (change_a_photograph_of_another_source, True, "image files or labels of other sources"),
    ],
)
def test_a_run_on_changed_data_or_weights_starts_afresh(root, init, tmp_path, capsys, monkeypatch, change, also, name):
    own_init = tmp_path / "init.pth"
    own_init.write_bytes(init.read_bytes())
    path = tmp_path / "tiny.pth"
    command = [root, "--epochs", 2, "--init", own_init, "--modelname", path, "--device", "cpu"]
    if also:
        command += ["--also", make_sources(root.parent / "elsewhere")]
    epochs = []

    def record(*arguments, epoch, **options):
        epochs.append(epoch)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        interrupt_validation(patch, epoch=2)
        patch.setattr(training, "train_epoch", lambda *_, **__: validation.EpochFigures(1, 32, 1.0, 0.5, 1.0))
        assert run(capsys, *command)[0] == 130
    monkeypatch.setattr(training, "train_epoch", record)
    code, out, _ = run(capsys, *command)
    assert code == 130 and epochs == [1] and "going on after epoch 1 of 2" in out  # unchanged

    change(root, own_init)
    code, out, _ = run(capsys, *command)
    assert code == 130 and epochs == [1, 0] and "going on" not in out
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
        patch.setattr(validation, "best_score", increasing())
        command = [root, "--also", also, "--epochs", "2", "--init", init, "--device", "cpu", "--modelname"]
        assert main_train.main([*map(str, command), str(folder / "m.pth")], SMALL_SEVERAL) == 0
    return SeveralRun(command, out.getvalue(), Checkpoint.load(folder / "m.pth"), epochs)


def test_each_source_has_its_share_and_small_photographs_only_the_first_epochs(several_run):
    first, second = several_run.epochs
    assert first.keys() == {"", "bcn", "milk10k"} and second.keys() == {"", "milk10k"}
    for epoch in (first, second):  # which images are sampled is partly chance
        assert epoch.total() % 8 == 0 and epoch[""] == pytest.approx(0.4 * epoch.total(), abs=4)
    assert first[""] > several_run.checkpoint.training["images"]


def test_a_checkpoint_of_several_sources_records_them(several_run):
    facts = several_run.checkpoint.training
    held_out = {name: part["images"] for name, part in facts["validation"].items()}
    assert list(held_out) == ["HAM10000", "milk10k"] and facts["images"] + held_out["HAM10000"] == IMAGES
    assert facts["sources"]["bcn"] == 28 and facts["sources"]["milk10k"] + held_out["milk10k"] < 56
    assert len(facts["sources_sha256"]) == 64 != facts["images_sha256"]
    assert facts["recipe"]["ham10000_share"] == 0.4 and facts["recipe"]["augmentation"]["cameras"]
    assert [list(entry["validation"]) for entry in facts["history"]] == [["HAM10000", "milk10k"]] * 2
    assert [entry["size"] for entry in facts["history"]] == [32, 40]


def test_a_run_of_several_sources_says_what_it_uses(several_run):
    first, second, third, *_, last = several_run.out.splitlines()
    facts = several_run.checkpoint.training
    learned, validated = sum(facts["sources"].values()), facts["validation"]["milk10k"]["images"]
    assert first == "other sources: 28 of bcn, 56 of milk10k; 12 of other diseases are left out (scc 12)"
    assert second.startswith(
        f"  {learned} to learn from, {validated} to validate on, {84 - learned - validated} to test;"
    )
    assert third.startswith(f"{facts['images'] + learned} images to learn from, ")
    assert f" of HAM10000, {validated} of milk10k of other lesions to validate on; HAM10000 has akiec 4, bcc 4" in third
    assert last.startswith("best epoch 2: validation on HAM10000: balanced accuracy") and "; milk10k: balanced" in last


def test_an_interrupted_run_of_several_sources_ends_where_the_whole_one_does(
    several_run, tmp_path, capsys, monkeypatch
):
    command = [*several_run.command, tmp_path / "m.pth"]
    monkeypatch.setattr(validation, "best_score", increasing())
    interrupt_validation(monkeypatch, epoch=2)
    # The second epoch of the first try would be thrown away: it is not computed.
    train_epoch, epochs = training.train_epoch, []

    def once(*arguments, epoch, **options):
        epochs.append(epoch)
        if epochs == [0, 1]:
            return validation.EpochFigures(2, 40, 1.0, 0.5, 1.0)
        return train_epoch(*arguments, epoch=epoch, **options)

    monkeypatch.setattr(training, "train_epoch", once)
    assert run(capsys, *command, recipe=SMALL_SEVERAL)[0] == 130
    code, out, _ = run(capsys, *command, recipe=SMALL_SEVERAL)
    assert code == 0 and epochs == [0, 1, 1] and "going on after epoch 1 of 2" in out
    resumed, whole = Checkpoint.load(tmp_path / "m.pth"), several_run.checkpoint
    assert [e["loss"] for e in resumed.training["history"]] == [e["loss"] for e in whole.training["history"]]
    for name, value in whole.state.items():
        torch.testing.assert_close(resumed.state[name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert resumed.bias == pytest.approx(whole.bias, rel=1e-3)
    assert resumed.temperature == pytest.approx(whole.temperature, rel=1e-3)
