"""The whole recipe on a tiny folder: what each stage leaves, and what happens when one is cut off."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from PIL import Image
from torchvision.models import resnet34

from evaluate.dataset import find_examples
from evaluate.predictions import Predictions
from handler.checkpoint import Checkpoint
from tests.tiny_ham10000 import IMAGES, make_root
from train import bundle, main_stages, main_train
from train.pace import Pace
from train.recipe import Recipe

SMALL = replace(Recipe(), sizes=((1.0, 32),), batch_size=8, stored_size=64)
NAMES = ["fold_1", "fold_2", "teacher", "student", "bias"]


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("init") / "random.pth"
    torch.save(resnet34().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory, init: Path) -> list[str]:
    root, output = make_root(tmp_path_factory.mktemp("data")), tmp_path_factory.mktemp("results")
    options = ["--output", output, "--init", init, "--minutes", 9, "--folds", 2, "--device", "cpu"]
    return [str(option) for option in (root, *options)]


@pytest.fixture(scope="module")
def finished(command: list[str], one_thread) -> Path:
    """The output of a run that was cut off in its second stage, and given again."""
    output = Path(command[2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main_stages, "MOST_EPOCHS", {"fold": 1, "student": 2})

        with pytest.MonkeyPatch.context() as cutting:
            cutting.setattr(main_stages.main_train, "main", _cut_off(main_train.main))
            assert main_stages.main(command, SMALL) == 130
        before = (output / "fold_1.pth").stat().st_mtime_ns
        assert [stage["finished"] for stage in log(output)["stages"]] == [True] + [False] * 4
        assert main_stages.main(command, SMALL) == 0
        assert (output / "fold_1.pth").stat().st_mtime_ns == before
    return output


def _cut_off(train):
    def main(argv: list[str], recipe: Recipe) -> int:
        if "2/2" in argv:
            return 130  # as it does after Ctrl-C
        return train(argv, recipe)

    return main


def log(output: Path) -> dict:
    return json.loads((output / "stages.json").read_text())


def test_each_stage_is_in_the_log(finished: Path):
    content = log(finished)
    assert [stage["name"] for stage in content["stages"]] == NAMES
    assert all(stage["finished"] and stage["seconds"] > 0 for stage in content["stages"])
    assert [stage["epochs"] for stage in content["stages"]] == [1, 1, None, 2, None]
    assert content["device"] == "cpu" and content["pace"]["epoch"] > 0


def test_the_folds_answer_every_image_once(finished: Path, command: list[str]):
    parts = [Predictions.read(finished / f"fold_{k}.csv") for k in (1, 2)]
    names = [e.path.stem for part in parts for e in part.examples]
    assert sorted(names) == sorted(e.path.stem for e in find_examples(command[0], "train"))
    lesions = [{e.lesion for e in part.examples} for part in parts]
    assert not lesions[0] & lesions[1]


def test_kept_answers_are_without_bias_and_temperature(finished: Path):
    checkpoint = Checkpoint.load(finished / "fold_1.pth")
    assert checkpoint.training["fold"] == "1/2"
    logits = np.log(Predictions.read(finished / "fold_1.csv").probabilities.astype(float))
    calibrated = (logits + checkpoint.bias) / checkpoint.temperature
    right = calibrated.argmax(1) == Predictions.read(finished / "fold_1.csv").labels
    assert right.mean() == pytest.approx(checkpoint.training["validation"]["accuracy"])


def test_the_teacher_answers_every_image_and_the_student_learns_of_it(finished: Path):
    assert len(Predictions.read(finished / "teacher.csv").examples) == IMAGES
    student = Checkpoint.load(finished / "student.pth").training
    assert student["recipe"]["teacher_weight"] == main_train.TEACHER_WEIGHT and len(student["teacher_sha256"]) == 64
    assert "teacher_sha256" not in Checkpoint.load(finished / "fold_1.pth").training


def test_the_bias_is_fitted_to_the_folds_for_the_student(finished: Path):
    curve = json.loads((finished / "trade_off.json").read_text())
    assert curve["images"] == IMAGES and curve["answers"].startswith("2 folds")


def test_a_finished_run_given_again_does_nothing(finished: Path, command: list[str], capsys, monkeypatch):
    monkeypatch.setattr(main_stages.main_train, "main", None)
    assert main_stages.main(command, SMALL) == 0
    assert capsys.readouterr().out.count("has finished before") == len(NAMES)


def test_what_cannot_work_is_one_line(finished: Path, command: list[str], capsys):
    for expected, options in {
        "--folds is 1: at least 2 are needed": [*command, "--folds", "1"],
        "is of other --folds": [*command, "--folds", "3"],
        "nowhere is not a folder": ["nowhere", *command[1:]],
    }.items():
        assert main_stages.main(options, SMALL) == 2
        captured = capsys.readouterr()
        assert expected in captured.err and captured.err.count("\n") == 1


def test_a_stage_that_fails_ends_the_run(command: list[str], tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr(main_stages, "measure", lambda *_: Pace(0.0, 1.0))
    failing = [*command, "--init", str(tmp_path / "none.pth"), "--output", str(tmp_path)]
    assert main_stages.main(failing, SMALL) == 2
    assert "stage fold_1 failed" in capsys.readouterr().err


def test_the_time_left_decides_the_epochs():
    pace = Pace(fixed=10, epoch=2)
    assert [pace.epochs_within(seconds, 40) for seconds in (0, 11, 30, 1000)] == [1, 1, 10, 40]
    assert pace.after(epochs=10, seconds=60) == Pace(10, 5)


def test_a_stage_that_went_on_does_not_change_the_pace(command: list[str], tmp_path: Path, monkeypatch):
    """Its seconds are those of its last epochs alone."""
    monkeypatch.setattr(main_stages, "measure", lambda *_: Pace(0.0, 1000.0))
    options = main_stages.parser().parse_args([*command, "--output", str(tmp_path)])
    for code in (130, 0):
        monkeypatch.setattr(main_stages.main_train, "main", lambda *_, code=code: time.sleep(0.1) or code)
        run = main_stages.Run(options, SMALL)
        with contextlib.suppress(KeyboardInterrupt):
            run._train("fold_1", "--fold", "1/2")
    assert run._stage("fold_1").finished and run.log.pace == Pace(0.0, 1000.0)
    run._train("fold_2", "--fold", "2/2")
    assert run.log.pace.epoch < 1


# The bundle


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, init: Path) -> Path:
    """A bundle of data of five lesions in each class, unpacked."""
    folder = tmp_path_factory.mktemp("bundle")
    root = make_root(folder / "root", lesions=5)
    for name in ("one.tar", "two.tar"):
        assert bundle.main([str(root), "--init", str(init), "--output", str(folder / name)]) == 0
    assert (folder / "one.tar").read_bytes() == (folder / "two.tar").read_bytes()
    with tarfile.open(folder / "one.tar") as tar:
        tar.extractall(folder, filter="data")
    return folder / bundle.TOP


def test_the_bundle_has_every_training_image_small(packed: Path):
    examples = find_examples(packed / "data", "train")
    assert len(examples) == 7 * 7
    with Image.open(examples[0].path) as image:
        assert image.format == "JPEG" and image.size == (256, 256)


def test_pip_can_read_what_the_bundle_needs(packed: Path):
    wanted = [Requirement(line).name for line in (packed / "requirements.txt").read_text().splitlines()]
    assert {"torch", "numpy", "openvino"} < set(wanted) and len(wanted) == len(set(wanted))


def test_the_code_in_the_bundle_runs_from_there(packed: Path):
    code = "import train.main_stages as m; print(m.__file__)"
    finished = subprocess.run([sys.executable, "-c", code], cwd=packed, capture_output=True, text=True, timeout=200)
    assert finished.stdout.strip() == str(packed / "train/main_stages.py"), finished.stderr
    shown = subprocess.run(["sh", "run.sh"], cwd=packed, capture_output=True, text=True, timeout=60)
    assert shown.returncode != 0 and "sh run.sh MINUTES" in shown.stderr


def test_a_bundle_that_cannot_be_made_is_one_line(tmp_path: Path, capsys):
    root = make_root(tmp_path / "root")
    for expected, options in {
        "nowhere is not a folder": ["nowhere"],
        "--init none.pth does not exist": [root, "--init", "none.pth"],
    }.items():
        assert bundle.main([*map(str, options), "--output", str(tmp_path / "b.tar")]) == 2
        captured = capsys.readouterr()
        assert expected in captured.err and captured.err.count("\n") == 1
    assert not (tmp_path / "b.tar").exists()
