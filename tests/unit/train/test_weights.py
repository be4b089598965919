"""Starting weights: what is read, what is refused, and their digest."""

from __future__ import annotations

import http.client
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import ResNet34_Weights, resnet34

from api.arguments import UsageError
from handler.model.checkpoint import Checkpoint
from train import weights


def test_starting_weights_are_read_from_every_kind_of_file(tmp_path, init):
    state = weights.read_weights(init)
    save_file(state, tmp_path / "w.safetensors")
    headed = resnet34(num_classes=7).state_dict() | {n: v for n, v in state.items() if not n.startswith("fc.")}
    Checkpoint(headed).save(tmp_path / "checkpoint.pth")
    for path in init, tmp_path / "w.safetensors", tmp_path / "checkpoint.pth":
        network, source = weights.starting_network(str(path))
        assert source == path.name
        assert network.fc.out_features == 7
        assert torch.equal(network.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])
        assert network.layer1[0].conv1.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("none.pth", None, "does not exist"),
        ("text.pth", b"no weights", "cannot be read ("),
        ("text.safetensors", b"no weights", "cannot be read ("),
        ("tensor.pth", torch.zeros(3), "does not hold weights by name"),
        ("numbers.pth", {"a": 1, "b": "x"}, "does not hold weights by name"),
        ("state.pth", {"state_dict": [1]}, "does not hold weights by name"),
        ("empty.pth", {}, "does not hold a resnet34: its names differ (conv1.weight)"),
        ("names.pth", {"w": torch.zeros(3)}, "does not hold a resnet34: its names differ (w)"),
        ("shapes.pth", {"conv1.weight": torch.zeros(3)}, "does not hold a resnet34: the shapes differ"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_files_without_the_weights_of_a_resnet34_are_refused(tmp_path, name, content, expected):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UsageError) as refused:
        weights.starting_network(str(path))
    message = str(refused.value)
    assert f"--init {path}" in message and expected in message and "\n" not in message


@pytest.mark.parametrize(
    "error",
    [
        URLError("no route to host"),
        TimeoutError("timed out"),
        RuntimeError("invalid hash"),
        http.client.IncompleteRead(b""),
    ],
)
def test_a_failed_download_is_refused_and_names_init(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(type(ResNet34_Weights.IMAGENET1K_V1), "get_state_dict", fail)
    with pytest.raises(UsageError, match="ImageNet weights cannot be downloaded .* give a file with --init"):
        weights.starting_network(None)


def test_a_run_that_starts_from_another_keeps_its_head(tmp_path):
    state = resnet34(num_classes=7).state_dict()
    Checkpoint(state, training={"epoch": 3}).save(tmp_path / "checkpoint.pth")
    assert weights.previous_training(str(tmp_path / "checkpoint.pth")) == {"epoch": 3}
    network, _ = weights.starting_network(str(tmp_path / "checkpoint.pth"))
    torch.testing.assert_close(network.fc.weight, state["fc.weight"], rtol=1e-3, atol=1e-4)


def test_other_weights_have_no_previous_training(tmp_path, init):
    save_file(weights.read_weights(init), tmp_path / "w.safetensors")
    assert weights.previous_training(None) is None
    assert weights.previous_training(str(init)) is None
    assert weights.previous_training(str(tmp_path / "w.safetensors")) is None


def test_the_digest_depends_on_every_value_name_and_shape():
    state = {"a": torch.zeros(2, 3), "b": torch.tensor(1)}
    digest = weights.weights_digest(state)
    assert digest == weights.weights_digest(dict(reversed({n: v.clone() for n, v in state.items()}.items())))
    changed = torch.zeros(2, 3)
    changed[1, 2] = 1e-8
    for other in ({"a": changed}, {"a": torch.zeros(3, 2)}, {"a": torch.zeros(2, 3).double()}, {"b": torch.tensor(2)}):
        assert weights.weights_digest(state | other) != digest
    assert weights.weights_digest({"c": state["a"], "b": state["b"]}) != digest
