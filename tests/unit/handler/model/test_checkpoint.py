"""Saving and loading checkpoints, and the reasons for which a file is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet34

from api.classes import CLASSES
from handler.model.checkpoint import FORMAT, PREPROCESSING, Checkpoint, CheckpointError


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return resnet34(num_classes=len(CLASSES)).state_dict()


def content(**changes: object) -> dict:
    """The content of a checkpoint's file, with ``changes`` and placeholder weights."""
    return {
        "format": FORMAT,
        "architecture": "resnet34",
        "state_dict": {"w": torch.zeros(2)},
        "classes": list(CLASSES),
        "temperature": 1.5,
        "preprocessing": PREPROCESSING,
        "training": {},
    } | changes


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.load(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


def test_a_saved_checkpoint_can_be_loaded(state, tmp_path):
    saved = Checkpoint(state, temperature=1.25, training={"epoch": 3, "history": [{"loss": 0.5}]})
    saved.save(tmp_path / "a folder" / "m.pth")
    loaded = Checkpoint.load(tmp_path / "a folder" / "m.pth")
    assert loaded.classes == list(CLASSES) and loaded.temperature == 1.25
    assert loaded.preprocessing == PREPROCESSING and loaded.training == saved.training
    assert list(loaded.state) == list(state)
    for name, value in state.items():
        if value.is_floating_point():
            torch.testing.assert_close(loaded.state[name], value, rtol=1e-3, atol=1e-6)
        else:
            assert torch.equal(loaded.state[name], value)


def test_thresholds_are_kept_and_older_files_have_none(state, tmp_path):
    path = tmp_path / "m.pth"
    Checkpoint(state, malignant_threshold=0.1, plausible_threshold=0.2).save(path)
    loaded = Checkpoint.load(path)
    assert (loaded.malignant_threshold, loaded.plausible_threshold) == (0.1, 0.2)
    torch.save(content(), path)
    assert Checkpoint.load(path).plausible_threshold is None


def test_the_file_has_weights_in_float16_and_statistics_in_float32(state, tmp_path):
    Checkpoint(state).save(tmp_path / "m.pth")
    stored = torch.load(tmp_path / "m.pth", weights_only=True)["state_dict"]
    assert stored["conv1.weight"].dtype == torch.float16
    assert stored["bn1.running_var"].dtype == torch.float32
    assert stored["bn1.num_batches_tracked"].dtype == torch.int64
    assert (tmp_path / "m.pth").stat().st_size < 50_000_000


def test_statistics_beyond_float16_are_kept(state, tmp_path):
    large = torch.full_like(state["bn1.running_var"], 1e6)  # beyond float16
    Checkpoint(state | {"bn1.running_var": large}).save(tmp_path / "m.pth")
    assert torch.equal(Checkpoint.load(tmp_path / "m.pth").state["bn1.running_var"], large)


def test_a_failed_save_leaves_the_old_file(state, tmp_path):
    path = tmp_path / "m.pth"
    Checkpoint(state, temperature=2.0).save(path)
    before = path.read_bytes()
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        Checkpoint(state, training={"bad": lambda: None}).save(path)
    assert path.read_bytes() == before


def test_the_network_is_in_evaluation_mode(state):
    network = Checkpoint(state).network()
    assert not network.training
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, len(CLASSES))


def test_a_missing_file_is_refused(tmp_path):
    assert refusal(tmp_path / "none.pth").endswith("none.pth does not exist")


@pytest.mark.parametrize("data", [b"", b"garbage", b"PK\x03\x04" + bytes(100), bytes(5000), b"version https://git-lfs"])
def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path, data):
    path = tmp_path / "m.pth"
    path.write_bytes(data)
    assert "is not a checkpoint (" in refusal(path)


def test_a_folder_is_refused(tmp_path):
    assert "is not a checkpoint (" in refusal(tmp_path)


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
    assert "is not a checkpoint (" in refusal(path)
    assert not created.exists()
    torch.load(path, weights_only=False)
    assert created.exists()  # an unsafe load executes it


@pytest.mark.parametrize(
    "other",
    [
        {"w": torch.zeros(3)},
        [1, 2, 3],
        torch.zeros(3),
        {},
        content(architecture="resnet50"),
        {name: value for name, value in content().items() if name != "state_dict"},
    ],
    ids=["state dict", "list", "tensor", "nothing", "architecture", "no weights"],
)
def test_other_content_is_refused(tmp_path, other):
    torch.save(other, tmp_path / "m.pth")
    assert refusal(tmp_path / "m.pth").endswith("is not a checkpoint of train/main_train.py")


@pytest.mark.parametrize("number", [0, 2, None, "1"])
def test_another_format_is_refused(tmp_path, number):
    torch.save(content(format=number), tmp_path / "m.pth")
    assert refusal(tmp_path / "m.pth").endswith(f"has format {number}; this version reads {FORMAT}")


def test_an_unknown_class_is_refused(tmp_path):
    torch.save(content(classes=["nv", "scc"]), tmp_path / "m.pth")
    assert "knows the class scc, which has no documented name" in refusal(tmp_path / "m.pth")


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf")])
def test_an_invalid_temperature_is_refused(tmp_path, temperature):
    torch.save(content(temperature=temperature), tmp_path / "m.pth")
    assert "it must be positive" in refusal(tmp_path / "m.pth")


@pytest.mark.parametrize("name", ["classes", "temperature", "preprocessing", "training"])
def test_an_incomplete_checkpoint_is_refused(tmp_path, name):
    torch.save({key: value for key, value in content().items() if key != name}, tmp_path / "m.pth")
    refusal(tmp_path / "m.pth")


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(content(), tmp_path / "m.pth")
    with pytest.raises(CheckpointError):
        Checkpoint.load(tmp_path / "m.pth").network()
