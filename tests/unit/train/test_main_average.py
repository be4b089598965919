"""The mean of several networks' weights: what it is, what is fitted to it, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from api.classes import CLASSES
from evaluate.dataset import find_examples, split_by_lesion
from evaluate.held_out import split_all_again
from evaluate.sources import find_sources
from handler.model.checkpoint import Checkpoint
from handler.model.network import Network
from tests.tiny_ham10000 import IMAGES, make_root
from tests.tiny_sources import make_sources
from train import average, calibrate, main_average, validation
from train.resume import images_digest


@pytest.fixture(autouse=True)
def small_images(monkeypatch: pytest.MonkeyPatch, one_thread):
    load_squares = validation.load_squares
    monkeypatch.setattr(validation, "load_squares", lambda *arguments: load_squares(*arguments, 32))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_root(tmp_path_factory.mktemp("average") / "ham10000")


@pytest.fixture(scope="module")
def trained(root: Path) -> list[Path]:
    """Checkpoints as ``main_train.py`` leaves them, of networks that nobody trained."""
    examples = find_examples(root, "train")
    facts = {"images": len(split_by_lesion(examples, 0.1, seed=0)[0]), "images_sha256": images_digest(examples)}
    paths = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        checkpoint = Checkpoint(Network(7).state_dict(), training=facts | {"epoch": seed})
        checkpoint.state["bn1.running_mean"] -= seed
        checkpoint.save(root / f"{seed}.pth")
        paths.append(root / f"{seed}.pth")
    return paths


@pytest.fixture
def models(trained: list[Path], tmp_path: Path) -> list[Path]:
    return [shutil.copy(path, tmp_path / path.name) for path in trained]


def run(capsys, root: Path, models: list[Path], *options) -> tuple[int, str, str]:
    output = models[0].with_name("mean.pth")
    arguments = [root, "--models", *models, "--output", output, "--device", "cpu", *options]
    code = main_average.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    if code:
        assert code == 2 and len(captured.err.splitlines()) == 1 and not output.exists()
    return code, captured.out, captured.err


def test_what_is_averaged_and_what_is_fitted_to_it(capsys, root: Path, models: list[Path]):
    code, printed, _ = run(capsys, root, models, "--weights", "1", "3")
    assert code == 0
    parts, mean = [Checkpoint.load(path) for path in models], Checkpoint.load(models[0].with_name("mean.pth"))
    for name in ("conv1.weight", "fc.bias", "bn1.running_mean"):
        expected = 0.25 * parts[0].state[name] + 0.75 * parts[1].state[name]
        np.testing.assert_allclose(mean.state[name], expected, atol=2e-3, err_msg=name)
    assert [(part["weight"], part["training"]["epoch"]) for part in mean.training["mean"]] == [(0.25, 1), (0.75, 2)]
    lines = printed.splitlines()
    assert [line.split(": accuracy")[0] for line in lines[:3]] == [
        f"{name}, HAM10000" for name in [*map(str, models), "mean (0.25, 0.75)"]
    ]
    assert lines[3] == f"the mean (0.25, 0.75) is in {models[0].with_name('mean.pth')}"

    # It is fitted to the images that neither model learned from.
    learned, held_out = split_by_lesion(find_examples(root, "train"), 0.1, seed=0)
    assert split_all_again(find_examples(root, "train"), [], mean) == (learned, {"HAM10000": held_out})
    assert {name: part["images"] for name, part in mean.training["validation"].items()} == {"HAM10000": len(held_out)}
    assert mean.training["images"] == len(learned) == IMAGES - len(held_out)
    squares, labels = validation.load_parts({"HAM10000": held_out})["HAM10000"]
    logits = calibrate.predict(mean.network(), squares, torch.device("cpu"))[1]
    assert mean.bias == pytest.approx(calibrate.fit_bias([(logits, labels)]))
    assert mean.malignant_threshold and mean.novelty and mean.ranges and mean.rounding_errors


def test_the_mean_with_the_best_score_is_kept(capsys, root: Path, models: list[Path], monkeypatch):
    scores = iter([0.9, 0.9, 0.1, 0.5, 0.3])  # of the two models, and of the three means
    monkeypatch.setattr(average, "selection_score", lambda parts: next(scores))
    code, printed, _ = run(capsys, root, models, "--weights", "0", "1", "--weights", "1", "1", "--weights", "1", "0")
    assert code == 0
    assert [line.split(", HAM10000")[0] for line in printed.splitlines()[2:5]] == [
        "mean (0, 1)",
        "mean (0.5, 0.5)",
        "mean (1, 0)",
    ]
    first, _ = Checkpoint.load(models[0].with_name("mean.pth")).training["mean"]
    assert first["weight"] == 0.5


def test_a_model_of_several_sources_is_fitted_to_the_held_out_parts_of_all(
    capsys, root: Path, tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
):
    also = make_sources(tmp_path / "elsewhere")
    called, complete = [], average.complete
    monkeypatch.setattr(average, "complete", lambda *arguments: called.append(arguments) or complete(*arguments))
    code, printed, _ = run(capsys, root, models[:1], "--also", also)
    assert code == 0
    learned, held_out = split_all_again(
        find_examples(root, "train"), find_sources([also]).examples, Checkpoint.load(models[0])
    )
    assert list(held_out) == ["HAM10000", "milk10k"] and called[0][1] == learned
    assert {example.source for example in learned} == {"", "milk10k", "bcn"}
    assert [line.split(": accuracy")[0] for line in printed.splitlines()[:-1]] == [
        f"{name}, {part}" for name in (models[0], "mean (1)") for part in ("HAM10000", "milk10k")
    ]
    facts = Checkpoint.load(models[0].with_name("mean.pth")).training["validation"]
    assert {name: part["images"] for name, part in facts.items()} == {n: len(part) for n, part in held_out.items()}
    assert [labels.tolist() for _, labels in called[0][2].values()] == [
        [example.label for example in part] for part in held_out.values()
    ]


def change(path: Path, classes: list[str] | None = None, **training) -> None:
    checkpoint = Checkpoint.load(path)
    checkpoint.training |= training
    checkpoint.classes = classes or checkpoint.classes
    checkpoint.save(path)


@pytest.mark.parametrize(
    "spoil, options, expected",
    [
        (None, ["--weights", "1"], "1 weights for 2 models: give one for each"),
        (None, ["--weights", "0", "0"], "one of them must be above 0"),
        (None, ["--weights", "-1", "2"], "weights must be numbers of at least 0"),
        (None, ["--weights", "nan", "1"], "weights must be numbers of at least 0"),
        (None, ["--also", "nowhere"], "nowhere is not a folder: give one that holds metadata.csv"),
        (lambda path: change(path, classes=[*CLASSES][::-1]), [], "the models have different classes"),
        (lambda path: change(path, recipe={"split_seed": 1}, images=19), [], "different validation images"),
        (lambda path: path.write_text("x"), [], "2.pth"),
        (lambda path: path.unlink(), [], "2.pth"),
    ],
)
def test_what_cannot_be_averaged_is_refused(capsys, root: Path, models: list[Path], spoil, options, expected):
    if spoil:
        spoil(models[1])
    code, _, error = run(capsys, root, models, *options)
    assert code == 2 and expected in error
