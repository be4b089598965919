"""The mean of several networks' weights: what it is, what is fitted to it, and what is refused."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet34

from evaluate import held_out
from evaluate.dataset import find_examples, split_by_lesion
from evaluate.sources import find_sources, split_sources
from handler.model.checkpoint import Checkpoint
from tests.tiny_ham10000 import IMAGES
from tests.tiny_sources import make_sources
from train import average, calibrate, main_average, validation
from train.recipe import SEVERAL_SOURCES, Recipe
from train.resume import images_digest


@pytest.fixture(autouse=True)
def small_images(monkeypatch: pytest.MonkeyPatch, one_thread):
    load_squares = validation.load_squares
    monkeypatch.setattr(validation, "load_squares", lambda *arguments: load_squares(*arguments, 64))


def trained(root: Path, path: Path, seed: int, **facts) -> Path:
    """A checkpoint as ``main_train.py`` leaves it, of a network that nobody trained."""
    torch.manual_seed(seed)
    examples = find_examples(root, "train")
    learned, _ = split_by_lesion(examples, 0.1, seed=0)
    training = {"epoch": seed, "images": len(learned), "images_sha256": images_digest(examples)} | facts
    Checkpoint(resnet34(num_classes=7).state_dict(), training=training).save(path)
    return path


@pytest.fixture
def models(root: Path, tmp_path: Path) -> list[Path]:
    return [trained(root, tmp_path / f"{seed}.pth", seed) for seed in (1, 2)]


def run(capsys, root: Path, models: list[Path], *options) -> tuple[int, str, str]:
    arguments = [root, "--models", *models, "--output", root / "mean.pth", "--device", "cpu", *options]
    code = main_average.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_what_is_averaged_and_what_is_fitted_to_it(capsys, root: Path, models: list[Path]):
    parts = [Checkpoint.load(path) for path in models]
    parts[1].state["bn1.running_mean"] += 1
    parts[1].save(models[1])
    code, printed, _ = run(capsys, root, models, "--weights", "1", "3")
    assert code == 0
    mean = Checkpoint.load(root / "mean.pth")
    for name in ("conv1.weight", "fc.bias", "bn1.running_mean"):
        expected = 0.25 * parts[0].state[name] + 0.75 * parts[1].state[name]
        np.testing.assert_allclose(mean.state[name], expected, atol=2e-3, err_msg=name)
    assert [(part["weight"], part["training"]["epoch"]) for part in mean.training["mean"]] == [(0.25, 1), (0.75, 2)]
    lines = printed.splitlines()
    assert [line.split(": accuracy")[0] for line in lines[:3]] == [
        f"{name}, HAM10000" for name in [*map(str, models), "mean (0.25, 0.75)"]
    ]
    assert lines[3] == f"the mean (0.25, 0.75) is in {root / 'mean.pth'}"

    # It is fitted to the images that no part learned from.
    examples = find_examples(root, "train")
    learned, expected = split_by_lesion(examples, 0.1, seed=0)
    assert [e.path for e in held_out.held_out(examples, mean)] == [e.path for e in expected]
    assert mean.training["images"] == len(learned) == IMAGES - len(expected)
    assert {name: part["images"] for name, part in mean.training["validation"].items()} == {"HAM10000": len(expected)}
    squares = validation.load_squares(expected, 1, "test")
    labels = np.array([example.label for example in expected])
    logits = calibrate.predict(mean.network(), squares, torch.device("cpu"))[1]
    assert mean.bias == pytest.approx(calibrate.fit_bias([(logits, labels)]))
    assert mean.malignant_threshold and mean.novelty and mean.ranges and mean.rounding_errors


@pytest.mark.parametrize("best", ["0", "0.5", "1"])
def test_the_mean_with_the_best_score_is_kept(
    capsys, root: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch, best: str
):
    print_score = average.score_of

    def score_of(checkpoint: Checkpoint, name: str, *arguments) -> float:
        print_score(checkpoint, name, *arguments)
        return float(name.startswith(f"mean ({best},"))

    monkeypatch.setattr(average, "score_of", score_of)
    code, printed, _ = run(capsys, root, models, "--weights", "0", "1", "--weights", "1", "1", "--weights", "1", "0")
    assert code == 0
    assert [line.split(", HAM10000")[0] for line in printed.splitlines()[2:5]] == [
        "mean (0, 1)",
        "mean (0.5, 0.5)",
        "mean (1, 0)",
    ]
    first, _ = Checkpoint.load(root / "mean.pth").training["mean"]
    assert first["weight"] == float(best)


def test_a_model_of_several_sources_is_fitted_to_the_held_out_parts_of_all(
    capsys, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    also = make_sources(tmp_path / "elsewhere")
    recipe = asdict(replace(SEVERAL_SOURCES, sizes=((1.0, 68),)))  # 0.7 of it: 47.6 pixels
    model = trained(root, tmp_path / "several.pth", 3, recipe=recipe)
    small = find_sources([also]).examples[-1]
    Image.new("RGB", (46, 46)).save(small.path)
    familiar, squares_for_novelty = [], average.squares_for_novelty
    monkeypatch.setattr(
        average, "squares_for_novelty", lambda chosen: familiar.append(chosen) or squares_for_novelty(chosen)
    )
    fitted_to, complete = [], average.complete
    monkeypatch.setattr(average, "complete", lambda *a: fitted_to.extend(a[2]) or complete(*a))
    code, printed, _ = run(capsys, root, [model], "--also", also)
    assert code == 0
    learned, first = split_by_lesion(find_examples(root, "train"), 0.1, seed=0)
    others = split_sources(find_sources([also]).examples, first)
    second = others.validation
    assert small in others.train and familiar == [[e for e in learned + others.train if e != small]]

    lines = printed.splitlines()
    assert [line.split(": accuracy")[0] for line in lines[:-1]] == [
        f"{name}, {part}" for name in (model, "mean (1)") for part in ("HAM10000", "milk10k")
    ]
    facts = Checkpoint.load(root / "mean.pth").training["validation"]
    assert {name: part["images"] for name, part in facts.items()} == {"HAM10000": len(first), "milk10k": len(second)}
    assert [labels.tolist() for _, labels in fitted_to] == [[e.label for e in part] for part in (first, second)]
    for (squares, _), part in zip(fitted_to, (first, second), strict=True):
        np.testing.assert_array_equal(squares, validation.load_squares(part, 1, "test"))


def test_a_folder_of_other_sources_that_is_missing_is_refused(capsys, root: Path, tmp_path: Path, models: list[Path]):
    code, _, error = run(capsys, root, models, "--also", tmp_path / "nowhere")
    assert code == 2 and "nowhere is not a folder: give one that holds metadata.csv" in error
    assert len(error.splitlines()) == 1 and not (root / "mean.pth").exists()


def test_a_weight_of_zero_leaves_a_model_out(models: list[Path]):
    first, second = (Checkpoint.load(path) for path in models)
    mean = average.mean_of([first, second], [1.0, 0.0])
    assert all(torch.equal(value, first.state[name]) for name, value in mean.state.items())


def other_classes(path: Path) -> None:
    checkpoint = Checkpoint.load(path)
    checkpoint.classes.reverse()
    checkpoint.save(path)


@pytest.mark.parametrize(
    "spoil, options, expected",
    [
        (None, ["--weights", "1"], "1 weights for 2 models: give one for each"),
        (None, ["--weights", "0", "0"], "one of them must be above 0"),
        (other_classes, [], "the models have different classes"),
        (lambda path: path.write_text("x"), [], "2.pth"),
        (lambda path: path.unlink(), [], "2.pth"),
    ],
    ids=["too few weights", "no weight", "other classes", "no checkpoint", "missing"],
)
def test_what_cannot_be_averaged_is_refused(capsys, root: Path, models: list[Path], spoil, options, expected):
    if spoil:
        spoil(models[1])
    code, _, error = run(capsys, root, models, *options)
    assert code == 2 and expected in error and len(error.splitlines()) == 1
    assert not (root / "mean.pth").exists()


def test_models_with_different_validation_images_are_refused(capsys, root: Path, tmp_path: Path, models: list[Path]):
    images = find_examples(root, "train")
    for seed in range(1, 50):
        learned, other = split_by_lesion(images, 0.1, seed)
        if {e.path for e in other} != {e.path for e in split_by_lesion(images, 0.1, 0)[1]}:
            break
    recipe = {"split_seed": seed, "validation_fraction": Recipe().validation_fraction}
    stranger = trained(root, tmp_path / "3.pth", 3, recipe=recipe, images=len(learned))
    code, _, error = run(capsys, root, [models[0], stranger])
    assert code == 2 and "different validation images" in error


def test_a_weight_that_is_none_is_refused(capsys, root: Path, models: list[Path]):
    for weight in ("-1", "nan", "much"):
        with pytest.raises(SystemExit):
            run(capsys, root, models, "--weights", weight, "1")
        assert f"{weight} is not a number of at least 0" in capsys.readouterr().err
