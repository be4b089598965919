"""Training on a tiny folder laid out like HAM10000: what is refused at once, what a run leaves, and how it goes on."""

from __future__ import annotations

import http.client
import itertools
import json
import math
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import ResNet34_Weights, resnet18, resnet34

from handler.classifier import PREPROCESSING, Checkpoint
from handler.contract import CLASSES
from handler.images import SIZE, network_square, open_photograph
from train import data, main_train
from train.data import DataError, Example, find_examples, split_by_lesion

ROOT = Path(__file__).resolve().parent.parent
COLOURS = [(200, 90, 90), (90, 200, 90), (90, 90, 200), (200, 200, 90), (60, 50, 40), (160, 110, 80), (200, 40, 140)]


# A data set


def make_root(root: Path, suffix: str = ".jpg") -> Path:
    """Seven classes of three lesions, each of one or two images of its class's colour, some in subfolders."""
    rng = np.random.default_rng(0)
    rows, number = ["lesion_id,image_id,dx,dx_type,age,sex,localization"], itertools.count()
    for dx, colour in zip(CLASSES, COLOURS, strict=True):
        for lesion in range(3):
            for _ in range(1 + lesion % 2):
                image_id = f"ISIC_{next(number):07d}"
                folder = root / data.FOLDERS["train"] / ("part_1", "part_2/deep", ".")[lesion]
                folder.mkdir(parents=True, exist_ok=True)
                pixels = np.clip(rng.normal(colour, 25, (48, 64, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{image_id}{suffix}")
                rows.append(f"HAM_{dx}_{lesion},{image_id},{dx},histo,50.0,male,back")
    (root / data.METADATA).write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def root(tmp_path) -> Path:
    return make_root(tmp_path / "ham10000")


def metadata(root: Path, change) -> None:
    """Rewrite the metadata, ``change`` being given its text."""
    path = root / data.METADATA
    path.write_text(change(path.read_text()))


def train_folder(root: Path) -> Path:
    return root / data.FOLDERS["train"]


# The command line


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main_train.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


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


def test_a_wrong_folder_is_refused_by_the_command_itself(tmp_path):
    done = subprocess.run(
        [sys.executable, "train/main_train.py", str(tmp_path / "nowhere")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("main_train.py: error: ") and "nowhere is not a folder" in done.stderr
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


# What is wrong with a folder is said before anything is computed


def delete_column(name):
    def change(text):
        rows = [line.split(",") for line in text.splitlines()]
        at = rows[0].index(name)
        return "\n".join(",".join(row[:at] + row[at + 1 :]) for row in rows)

    return change


def first_image(root: Path) -> Path:
    return next(train_folder(root).rglob("ISIC_0000000.*"))


def empty_the_train_folder(root: Path) -> None:
    for path in train_folder(root).rglob("*.jpg"):
        path.unlink()


def duplicate_an_image(root: Path) -> None:
    (train_folder(root) / "again").mkdir()
    (train_folder(root) / "again" / "ISIC_0000000.png").write_bytes(first_image(root).read_bytes())


def leave_one_lesion_of_a_class(root: Path) -> None:
    metadata(root, lambda text: text.replace("HAM_df_1", "HAM_df_0").replace("HAM_df_2", "HAM_df_0"))


FAULTS = {
    "no train folder": (
        lambda root: train_folder(root).rename(root / "elsewhere"),
        "HAM10000_images_train is missing: it holds the images of the train split",
    ),
    "no metadata": (
        lambda root: (root / data.METADATA).unlink(),
        "HAM10000_metadata.csv is missing: it holds a row per",
    ),
    "metadata is a folder": (
        lambda root: ((root / data.METADATA).unlink(), (root / data.METADATA).mkdir()),
        "HAM10000_metadata.csv is missing",
    ),
    "no column image_id": (lambda root: metadata(root, delete_column("image_id")), "has no column 'image_id'; it has"),
    "no column dx": (
        lambda root: metadata(root, delete_column("dx")),
        "has no column 'dx'; it has lesion_id, image_id",
    ),
    "no column lesion_id": (lambda root: metadata(root, delete_column("lesion_id")), "has no column 'lesion_id'"),
    "empty metadata": (lambda root: metadata(root, lambda text: ""), "has no column 'image_id'"),
    "semicolons": (lambda root: metadata(root, lambda text: text.replace(",", ";")), "has no column 'image_id'"),
    "not UTF-8": (
        lambda root: (root / data.METADATA).write_bytes(b"lesion_id,image_id,dx\n\xff\xfe,\xe9,nv\n"),
        "is not a CSV file in UTF-8",
    ),
    "no row": (
        lambda root: metadata(root, lambda text: text.replace("ISIC_0000003", "ISIC_9999999")),
        "has no row in",
    ),
    "short row": (
        lambda root: metadata(
            root, lambda text: text.replace("ISIC_0000000,akiec,histo,50.0,male,back", "ISIC_0000000")
        ),
        "image ISIC_0000000 has dx None; known are akiec, bcc, bkl, df, mel, nv, vasc",
    ),
    "unknown class": (
        lambda root: metadata(root, lambda text: text.replace("ISIC_0000000,akiec", "ISIC_0000000,scc")),
        "image ISIC_0000000 has dx 'scc'; known are akiec, bcc, bkl, df, mel, nv, vasc",
    ),
    "no lesion": (
        lambda root: metadata(root, lambda text: text.replace("HAM_akiec_0", "")),
        "image ISIC_0000000 has no lesion_id",
    ),
    "rows that disagree": (
        lambda root: metadata(root, lambda text: text + "HAM_x,ISIC_0000000,nv,histo,1,male,back\n"),
        "has two rows for image_id ISIC_0000000 that do not agree",
    ),
    "no image": (empty_the_train_folder, "HAM10000_images_train holds no image (.bmp, .jpeg, .jpg"),
    "an image twice": (duplicate_an_image, "are the same image_id: keep one"),
    "a text as image": (
        lambda root: first_image(root).write_text("no image"),
        "ISIC_0000000.jpg: not an image that can",
    ),
    "an empty image": (lambda root: first_image(root).write_bytes(b""), "ISIC_0000000.jpg: the image is empty"),
    "a cut image": (
        lambda root: first_image(root).write_bytes(first_image(root).read_bytes()[:700]),
        "ISIC_0000000.jpg: the image is damaged or cut short",
    ),
    "a folder as image": (
        lambda root: (first_image(root).unlink(), (train_folder(root) / "ISIC_0000000.jpg").mkdir()),
        "ISIC_0000000.jpg",
    ),
    "one lesion of a class": (leave_one_lesion_of_a_class, "class df has 1 lesion in the training images: at least 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_folder_is_one_line_before_the_first_epoch(capsys, root, tmp_path, init, fault):
    spoil, expected = FAULTS[fault]
    spoil(root)
    assert expected in refusal(capsys, root, "--init", init, "--modelname", tmp_path / "m.pth", "--device", "cpu")
    assert not (tmp_path / "m.pth").exists()


def test_a_root_that_is_not_there_is_refused(capsys, tmp_path):
    assert "nowhere is not a folder: give the one that holds" in refusal(capsys, tmp_path / "nowhere")


# What else is wrong is said before anything is computed, too


def unreadable_weights(folder: Path) -> dict[str, tuple[Path, str]]:
    def save(name, content):
        torch.save(content, folder / name)
        return folder / name

    for name in ("text.pth", "text.safetensors"):
        (folder / name).write_text("no weights")
    (folder / "empty.pth").write_bytes(b"")
    save_file({"conv1.weight": torch.zeros(3)}, folder / "other.safetensors")
    return {
        "missing": (folder / "none.pth", "does not exist"),
        "folder": (folder, "does not exist"),
        "text": (folder / "text.pth", "cannot be read ("),
        "text as safetensors": (folder / "text.safetensors", "cannot be read ("),
        "empty": (folder / "empty.pth", "cannot be read ("),
        "a tensor": (save("tensor.pth", torch.zeros(3)), "does not hold weights by name"),
        "a list": (save("list.pth", [torch.zeros(3)]), "does not hold weights by name"),
        "no tensors": (save("numbers.pth", {"a": 1, "b": "x"}), "does not hold weights by name"),
        "a list as state": (save("state.pth", {"state_dict": [1]}), "does not hold weights by name"),
        "no weights": (save("nothing.pth", {}), "does not hold a ResNet34 in torchvision's names (conv1.weight)"),
        "other names": (
            save("names.pth", {"w": torch.zeros(3)}),
            "does not hold a ResNet34 in torchvision's names (w)",
        ),
        "other shapes": (folder / "other.safetensors", "does not hold a ResNet34: its tensors have other shapes"),
        "smaller network": (save("18.pth", resnet18().state_dict()), "does not hold a ResNet34"),
    }


def test_weights_that_cannot_be_started_from_are_refused(capsys, root, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    for path, expected in unreadable_weights(folder).values():
        message = refusal(capsys, root, "--init", path, "--modelname", tmp_path / "m.pth")
        assert f"--init {path}" in message and expected in message


@pytest.mark.parametrize(
    "error",
    [
        URLError("no route to host"),
        TimeoutError("timed out"),
        RuntimeError("invalid hash"),
        http.client.IncompleteRead(b""),
    ],
)
def test_without_a_network_and_without_init_the_way_out_is_named(capsys, root, tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(type(ResNet34_Weights.IMAGENET1K_V1), "get_state_dict", fail)
    message = refusal(capsys, root, "--modelname", tmp_path / "m.pth")
    assert "ImageNet weights cannot be downloaded" in message and "give a file with --init" in message


def test_a_download_that_fails_is_the_same(capsys, root, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(torch.hub, "urlopen", fail)
    code, _, err = run(capsys, root, "--modelname", tmp_path / "m.pth")
    assert code == 2 and err.startswith("main_train.py: error: ") and "no route to host" in err
    assert "give a file with --init" in err and err.count("\n") == 1


@pytest.mark.parametrize("target", [".", "a file/model.pth"])
def test_a_model_that_cannot_be_written_is_refused(capsys, root, tmp_path, init, target):
    (tmp_path / "a file").write_text("")
    message = refusal(capsys, root, "--init", init, "--modelname", tmp_path / target)
    assert "--modelname" in message and "cannot be written" in message


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(capsys, root, tmp_path, init, device):
    message = refusal(capsys, root, "--init", init, "--modelname", tmp_path / "m.pth", "--device", device)
    assert f"--device {device} cannot be used" in message


# Finding and splitting


def test_images_are_found_in_subfolders_with_the_class_and_lesion_of_their_row(root):
    examples = find_examples(root, "train")
    assert len(examples) == 28
    assert [e.path.stem for e in examples] == [f"ISIC_{i:07d}" for i in range(28)]
    assert {e.path.parent.name for e in examples} == {"part_1", "deep", data.FOLDERS["train"]}
    assert all(e.lesion.startswith(f"HAM_{list(CLASSES)[e.label]}_") for e in examples)
    assert data.class_counts(examples) == dict.fromkeys(CLASSES, 4)


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".png", ".webp", ".bmp", ".tif"])
def test_images_of_other_formats_are_found(tmp_path, suffix):
    assert len(find_examples(make_root(tmp_path, suffix), "train")) == 28


def test_files_that_are_no_images_are_passed_over(root):
    (train_folder(root) / "Thumbs.db").write_bytes(b"x")
    (train_folder(root) / "README.txt").write_text("x")
    assert len(find_examples(root, "train")) == 28


def test_a_byte_order_mark_and_rows_of_other_images_do_no_harm(root):
    metadata(root, lambda text: "\ufeff" + text + "HAM_z,ISIC_7777777,,,,,\n" + text.splitlines()[1] + "\n")
    assert len(find_examples(root, "train")) == 28


def test_the_test_split_is_its_own_folder(root):
    with pytest.raises(DataError, match="HAM10000_images_test is missing"):
        find_examples(root, "test")
    train_folder(root).rename(root / data.FOLDERS["test"])
    assert len(find_examples(root, "test")) == 28


def many_examples() -> list[Example]:
    """Classes of very different sizes, one to three images a lesion."""
    rng = np.random.default_rng(1)
    return [
        Example(Path(f"{label}_{lesion}_{i}.jpg"), label, f"L{label}_{lesion}")
        for label, count in enumerate([30, 50, 100, 2, 110, 600, 3])
        for lesion in range(count)
        for i in range(int(rng.integers(1, 4)))
    ]


def test_no_lesion_stands_on_both_sides_of_the_split():
    examples = many_examples()
    train, validation = split_by_lesion(examples, 0.1, seed=0)
    assert not {e.lesion for e in train} & {e.lesion for e in validation}
    assert sorted(train + validation, key=str) == sorted(examples, key=str)


def test_each_class_gives_its_share_of_lesions_to_validation():
    train, validation = split_by_lesion(many_examples(), 0.1, seed=0)
    lesions = Counter(label for label, _ in {(e.label, e.lesion) for e in validation})
    assert lesions == {0: 3, 1: 5, 2: 10, 3: 1, 4: 11, 5: 60, 6: 1}
    assert {e.label for e in train} == set(range(7))


def test_the_split_depends_on_the_seed_alone():
    examples = many_examples()
    sides = [
        {e.lesion for e in split_by_lesion(order, 0.1, seed)[1]}
        for order, seed in ((examples, 0), (examples, 0), (examples[::-1], 0), (examples, 1))
    ]
    assert sides[0] == sides[1] == sides[2] != sides[3]


# Decoding


def test_validation_sees_exactly_what_serving_gives_the_network(root):
    examples = find_examples(root, "train")
    squares = data.load_squares(examples, 2, "test")
    assert squares.shape == (28, SIZE, SIZE, 3) and squares.dtype == np.uint8
    for example, square in zip(examples, squares, strict=True):
        assert (square == network_square(open_photograph(example.path.read_bytes()))).all()


def test_an_unreadable_image_is_told_without_decoding_all_the_others(tmp_path, monkeypatch):
    decoded = []

    def slow(content):
        decoded.append(content)
        time.sleep(0.01)
        return open_photograph(content)

    monkeypatch.setattr(data, "open_photograph", slow)
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    Image.new("RGB", (8, 8)).save(tmp_path / "good.jpg")
    examples = [Example(tmp_path / name, 0, "x") for name in ["bad.jpg"] + ["good.jpg"] * 500]
    with pytest.raises(DataError, match=r"bad\.jpg: not an image"):
        data.load_squares(examples, 2, "test")
    assert len(decoded) < 100


# Drawing and augmenting


def test_an_epoch_draws_rare_classes_oftener_than_they_come():
    labels = np.repeat(np.arange(7), [20, 30, 60, 10, 70, 400, 10])
    order = main_train.draw(labels, 640, 0.5, np.random.default_rng(0))
    assert len(order) == 640
    drawn = np.bincount(labels[order], minlength=7)
    expected = np.sqrt(np.bincount(labels)) / np.sqrt(np.bincount(labels)).sum() * 640
    assert np.abs(drawn - expected).max() < 0.25 * expected.max()
    share = drawn / np.bincount(labels)
    assert share[3] > 2 * share[4] > 2 * share[5]


@pytest.mark.parametrize("power, expected", [(0.0, [20, 80]), (1.0, [50, 50])])
def test_power_0_draws_classes_as_they_come_and_1_equally(power, expected):
    labels = np.repeat([0, 1], [20, 80])
    order = main_train.draw(labels, 100, power, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(labels[order]), expected, atol=1 if power == 0 else 12)
    if power == 0:
        assert sorted(order) == list(range(100))


@pytest.mark.parametrize("count", [1, 8, 99, 100, 101, 1000])
def test_an_epoch_draws_exactly_as_many_as_asked(count):
    labels = np.repeat(np.arange(7), [1, 2, 3, 5, 8, 13, 68])
    for seed in range(20):
        order = main_train.draw(labels, count, 0.5, np.random.default_rng(seed))
        assert len(order) == count and order.min() >= 0 and order.max() < 100
        assert (order == main_train.draw(labels, count, 0.5, np.random.default_rng(seed))).all()


def photographs(count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(2).integers(0, 256, (count, 48, 48, 3), dtype=np.uint8))


def test_batches_come_in_order_and_whole():
    labels, order = np.arange(20) % 7, np.random.default_rng(0).permutation(20).reshape(5, 4)
    made = list(main_train.batches(photographs(20), labels, order, 16, np.random.default_rng(0)))
    assert [tuple(views.shape) for views, _, _ in made] == [(4, 3, 16, 16)] * 5
    assert torch.stack([true for _, _, true in made]).tolist() == labels[order].tolist()
    wanted = torch.stack([wanted for _, wanted, _ in made])
    assert wanted.shape == (5, 4, 7)
    torch.testing.assert_close(wanted.sum(2), torch.ones(5, 4))


def test_an_error_while_augmenting_reaches_the_training_loop(monkeypatch):
    def fail(*_):
        raise ValueError("a fault")

    monkeypatch.setattr(main_train, "random_batch", fail)
    with pytest.raises(ValueError, match="a fault"):
        list(main_train.batches(photographs(4), np.zeros(4, int), np.zeros((2, 2), int), 16, np.random.default_rng(0)))


def test_leaving_the_training_loop_ends_the_augmenting_thread():
    before = threading.active_count()
    order = np.arange(4).repeat(50).reshape(100, 2)
    made = main_train.batches(photographs(4), np.zeros(4, int), order, 16, np.random.default_rng(0))
    next(made)
    assert threading.active_count() == before + 1
    made.close()
    assert threading.active_count() == before


def test_the_sides_of_the_pictures_grow_to_what_serving_uses():
    for epochs in (1, 2, 3, 15, 30):
        sizes = [main_train.image_size(epoch, epochs) for epoch in range(epochs)]
        assert sizes == sorted(sizes) and sizes[-1] == SIZE


def test_the_learning_rate_rises_then_falls_to_nothing():
    optimizer = main_train.make_optimizer(resnet34(num_classes=7))
    peaks = {group["peak"] for group in optimizer.param_groups}
    assert peaks == {main_train.RECIPE["learning_rate"], main_train.RECIPE["head_learning_rate"]}
    rates = []
    for step in range(200):
        main_train.set_learning_rate(optimizer, step, 200)
        rates.append(optimizer.param_groups[0]["lr"] / optimizer.param_groups[0]["peak"])
    top = int(np.argmax(rates))
    assert 5 < top < 20 and rates[top] == pytest.approx(1)
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[0] < 0.1 and rates[-1] < 0.001


# Whole runs


@pytest.fixture(scope="module")
def small_recipe():
    """Pictures of 32 pixels, in batches of 8, on one thread, which such small work is fastest on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(main_train.RECIPE, "sizes", [[1.0, 32]])
        patch.setitem(main_train.RECIPE, "batch", 8)
        patch.setattr(main_train.data, "load_squares", small_squares)
        yield
    torch.set_num_threads(threads)


def small_squares(examples, workers, description, side=64):
    return np.stack([network_square(open_photograph(e.path.read_bytes()), min(side, 64)) for e in examples])


def ever_better():
    """A score that rises with every call, so that each epoch is the best so far."""
    calls = itertools.count(1)
    return lambda probabilities, labels: next(calls) / 1000


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, init, small_recipe):
    """Two epochs without a break, beside what another run had left: folder, output, checkpoint."""
    folder = tmp_path_factory.mktemp("whole")
    root = make_root(folder / "ham10000")
    target = folder / "not yet there" / "tiny.pth"
    target.parent.mkdir()
    torch.save({"identity": {"seed": 99}, "epoch": 1}, target.with_suffix(".resume.pth"))
    target.write_bytes(b"the model of another run")
    orders, steps = [], []
    draw, set_learning_rate = main_train.draw, main_train.set_learning_rate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main_train, "draw", lambda *a: orders.append(draw(*a)) or orders[-1])
        patch.setattr(main_train, "set_learning_rate", lambda *a: steps.append(a[1:]) or set_learning_rate(*a))
        done = io_of(["--seed", "3", "--epochs", "2", "--init", str(init), "--modelname", str(target), str(root)])
    return WholeRun(root, target, done, Checkpoint.load(target), orders, steps)


class WholeRun(NamedTuple):
    root: Path
    target: Path
    out: str
    checkpoint: Checkpoint
    orders: list[np.ndarray]
    steps: list[tuple[int, int]]


def io_of(arguments: list[str]) -> str:
    """What a run that must succeed prints."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.MonkeyPatch.context() as patch:
        patch.setattr(main_train, "worth", ever_better())
        assert main_train.main([*arguments, "--device", "cpu"]) == 0
    return out.getvalue()


def test_a_run_leaves_one_small_file_that_holds_no_code(whole_run):
    target = whole_run.target
    assert [p.name for p in target.parent.iterdir()] == ["tiny.pth"]
    assert target.stat().st_size < 50_000_000
    content = torch.load(target, weights_only=True)
    assert content["architecture"] == "resnet34" and content["format"] == 1
    assert content["classes"] == list(CLASSES) and content["names"] == list(CLASSES.values())
    for name, value in content["state_dict"].items():
        if value.is_floating_point():
            assert value.dtype == (torch.float32 if "running_" in name else torch.float16)
    assert content["state_dict"]["fc.weight"].shape == (7, 512)


def test_each_epoch_draws_anew_and_the_learning_rate_goes_on(whole_run):
    first, second = whole_run.orders
    assert len(first) == len(second) and not (first == second).all()
    total = 2 * len(first) // 8
    assert whole_run.steps == [(step, total) for step in range(total)]


def test_a_checkpoint_tells_how_it_was_made(whole_run):
    checkpoint = whole_run.checkpoint
    facts = checkpoint.training
    assert checkpoint.classes == list(CLASSES) and checkpoint.preprocessing == PREPROCESSING
    assert 0.2 <= checkpoint.temperature <= 5
    assert (facts["epochs"], facts["epoch"], facts["seed"], facts["init"]) == (2, 2, 3, "random.pth")
    assert facts["recipe"] == main_train.RECIPE
    assert [entry["epoch"] for entry in facts["history"]] == [1, 2]
    assert facts["images"] + facts["validation"]["images"] == 28
    assert list(facts["validation"]["sensitivity"]) == list(CLASSES)
    assert 0 <= facts["validation"]["expected_calibration_error"] <= 1


def test_a_run_prints_its_validation_after_each_epoch(whole_run):
    target, checkpoint = whole_run.target, whole_run.checkpoint
    lines = [line.strip() for line in whole_run.out.splitlines()]
    told = [json.loads(line.removeprefix("validation: ")) for line in lines if line.startswith("validation: ")]
    assert told == checkpoint.training["history"]
    assert "images to learn from" in lines[0] and "akiec 4, bcc 4" in lines[0]
    assert lines[-1].startswith("best epoch 2: validation balanced accuracy") and lines[-1].endswith(f"-> {target}")


def test_what_another_run_left_is_ignored(whole_run):
    assert "belongs to another run (other images, epochs, seed or recipe) and is ignored" in whole_run.out


def test_a_checkpoint_classifies(whole_run):
    network = whole_run.checkpoint.network()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_an_interrupted_run_ends_where_the_whole_one_does(whole_run, init, tmp_path, capsys, monkeypatch):
    root, whole = whole_run.root, whole_run.checkpoint
    target = tmp_path / "tiny.pth"
    command = [root, "--seed", 3, "--epochs", 2, "--init", init, "--modelname", target, "--device", "cpu"]
    judge, calls = main_train.Validation.judge, itertools.count(1)

    def interrupt(*arguments):
        if next(calls) == 2:
            raise KeyboardInterrupt
        judge(*arguments)

    monkeypatch.setattr(main_train, "worth", ever_better())
    monkeypatch.setattr(main_train.Validation, "judge", interrupt)
    code, _, err = run(capsys, *command)
    assert code == 130 and "interrupted: the same command goes on" in err and "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.pth", "tiny.resume.pth"]
    assert Checkpoint.load(target).training["epoch"] == 1

    code, out, _ = run(capsys, *command)
    assert code == 0 and "going on after epoch 1 of 2" in out
    assert out.count("validation: ") == 1  # the first epoch is not trained again
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.pth"]
    resumed = Checkpoint.load(target)
    assert resumed.training["epoch"] == 2
    for name, value in whole.state.items():
        torch.testing.assert_close(resumed.state[name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert resumed.temperature == pytest.approx(whole.temperature, rel=1e-3)
    assert [e["loss"] for e in resumed.training["history"]] == [e["loss"] for e in whole.training["history"]]
    started = torch.load(init, weights_only=True)["layer4.2.conv2.weight"].float()
    assert (resumed.state["layer4.2.conv2.weight"] - started).abs().max() > 1e-3  # it learned: the test can fail


def test_the_best_epoch_is_kept_and_not_the_last(whole_run, init, tmp_path, capsys, monkeypatch):
    root = whole_run.root
    target = tmp_path / "tiny.pth"
    judge, scores, kept = main_train.Validation.judge, [0.2, 0.9, 0.5], []

    def remember(self, network, facts):
        kept.append({name: value.detach().clone() for name, value in network.state_dict().items()})
        judge(self, network, facts)

    monkeypatch.setattr(main_train.Validation, "judge", remember)
    monkeypatch.setattr(main_train, "worth", lambda *_: scores[len(kept) - 1])
    code, out, _ = run(capsys, root, "--epochs", 3, "--init", init, "--modelname", target, "--device", "cpu")
    assert code == 0 and "best epoch 2: validation balanced accuracy" in out
    checkpoint = Checkpoint.load(target)
    assert checkpoint.training["epoch"] == 2 and len(checkpoint.training["history"]) == 3
    weight = "layer4.2.conv2.weight"
    assert torch.equal(checkpoint.state[weight], kept[1][weight].half().float())
    assert not torch.equal(checkpoint.state[weight], kept[2][weight].half().float())


# Going on


@pytest.mark.parametrize(
    "content", [b"", b"no checkpoint", {"other": 1}, [1, 2], {"identity": {"seed": 1}}, {"identity": None}]
)
def test_a_resume_file_that_does_not_fit_is_ignored(tmp_path, capsys, content):
    path = tmp_path / "m.resume.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    assert main_train.load_resume(path, {"seed": 0}) is None
    assert "is ignored" in capsys.readouterr().out


def test_a_resume_file_of_the_same_run_is_read(tmp_path):
    identity = {"seed": 0, "recipe": main_train.RECIPE}
    main_train.save_whole({"identity": identity, "best": -math.inf}, tmp_path / "m.resume.pth")
    assert main_train.load_resume(tmp_path / "m.resume.pth", identity)["best"] == -math.inf
    assert main_train.load_resume(tmp_path / "none.pth", identity) is None
    assert [p.name for p in tmp_path.iterdir()] == ["m.resume.pth"]
