"""Saving and loading checkpoints, and the reasons for which a file is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from api.classes import CLASSES
from handler.model.checkpoint import FORMAT, PREPROCESSING, Checkpoint, CheckpointError
from handler.model.network import Network


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return Network(len(CLASSES)).state_dict()


def content(**changes: object) -> dict:
    """The content of a checkpoint's file, with ``changes`` and placeholder weights; None leaves a key out."""
    whole = {
        "format": FORMAT,
        "architecture": Network.architecture,
        "state_dict": {"w": torch.zeros(2)},
        "classes": list(CLASSES),
        "temperature": 1.5,
        "preprocessing": PREPROCESSING,
        "training": {},
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.load(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


def test_a_saved_checkpoint_can_be_loaded(state, tmp_path):
    large = {"bn1.running_var": torch.full_like(state["bn1.running_var"], 1e6)}  # beyond float16
    saved = Checkpoint(state | large, temperature=1.25, malignant_threshold=0.1, training={"history": [{"loss": 0.5}]})
    saved.save(tmp_path / "a folder" / "m.pth")
    assert (tmp_path / "a folder" / "m.pth").stat().st_size < 50_000_000  # weights are in float16
    loaded = Checkpoint.load(tmp_path / "a folder" / "m.pth")
    assert loaded.classes == list(CLASSES) and loaded.temperature == 1.25 and loaded.malignant_threshold == 0.1
    assert loaded.preprocessing == PREPROCESSING and loaded.training == saved.training
    assert list(loaded.state) == list(state)
    for name, value in saved.state.items():
        exact = "running_" in name or not value.is_floating_point()
        torch.testing.assert_close(loaded.state[name], value, rtol=0 if exact else 1e-3, atol=0 if exact else 1e-6)


def test_a_failed_save_leaves_the_old_file(state, tmp_path):
    path = tmp_path / "m.pth"
    Checkpoint(state, temperature=2.0).save(path)
    before = path.read_bytes()
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        Checkpoint(state, training={"bad": lambda: None}).save(path)
    assert path.read_bytes() == before


def test_files_of_older_versions_have_no_threshold_of_plausible_diagnoses(tmp_path):
    torch.save(content(), tmp_path / "m.pth")
    assert Checkpoint.load(tmp_path / "m.pth").plausible_threshold is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b"garbage", "it is damaged, or holds something else"),
        (pickle.dumps({"an": object()}, protocol=2), "it is damaged, or holds something else"),
        (b"PK\x03\x04" + bytes(100), "it is damaged"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
    ],
    ids=["empty", "text", "pickled objects", "damaged", "git-lfs pointer"],
)
def test_a_file_that_torch_cannot_read_is_refused_with_the_reason(tmp_path, data, why):
    path = tmp_path / "m.pth"
    assert refusal(path).endswith("does not exist")
    path.write_bytes(data)
    assert f"is not a checkpoint ({why}" in refusal(path) and refusal(path).isprintable()


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "m.pth"
    torch.save(content(state_dict={"w": torch.zeros(5000)}), path)
    path.write_bytes(path.read_bytes()[:9000])
    assert "is not a checkpoint (" in refusal(path)


class CreatesFile:
    """Unpickling it creates the file ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_code_in_a_file_is_not_executed(tmp_path):
    path, created = tmp_path / "m.pth", tmp_path / "created"
    torch.save(content(training=CreatesFile(created)), path)
    assert "is not a checkpoint (it is damaged, or holds something else" in refusal(path)
    assert not created.exists()
    torch.load(path, weights_only=False)
    assert created.exists()  # an unsafe load executes it


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ([1, 2, 3], "is not a checkpoint of train/main_train.py"),
        ({"w": torch.zeros(3)}, "is not a checkpoint of train/main_train.py"),
        (content(state_dict=None), "is not a checkpoint of train/main_train.py"),
        (content(architecture="resnet50"), f"is a resnet50; this version reads {Network.architecture}"),
        (content(format=2), f"has format 2; this version reads {FORMAT}"),
        (content(classes=["nv", "scc"]), "knows the class scc, which has no documented name"),
        (content(temperature=0), "it must be positive"),
        (content(temperature=float("nan")), "it must be positive"),
        (content(preprocessing=None), "is incomplete: it has no preprocessing"),
    ],
)
def test_other_content_is_refused(tmp_path, other, reason):
    torch.save(other, tmp_path / "m.pth")
    assert refusal(tmp_path / "m.pth").endswith(reason)


def test_weights_of_another_network_are_refused():
    with pytest.raises(CheckpointError):
        Checkpoint({"w": torch.zeros(2)}).network()
