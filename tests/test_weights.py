"""Starting weights of every kind, and the moving average. What cannot be started from: ``test_train.py``."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet34

from handler.classifier import Checkpoint
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


def test_the_average_follows_the_network_ever_more_slowly():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    average = weights.ExponentialAverage(network, 0.998)
    torch.nn.init.ones_(network.weight)
    average.update(network, 0)
    assert average.network.weight.item() == pytest.approx(0.9)
    average.update(network, 10**9)
    assert average.network.weight.item() == pytest.approx(0.9 + 0.002 * 0.1)
    assert not average.network.weight.requires_grad


def test_a_run_that_starts_from_another_keeps_its_head(tmp_path):
    state = resnet34(num_classes=7).state_dict()
    Checkpoint(state, training={"epoch": 3}).save(tmp_path / "checkpoint.pth")
    assert weights.earlier_training(str(tmp_path / "checkpoint.pth")) == {"epoch": 3}
    network, _ = weights.starting_network(str(tmp_path / "checkpoint.pth"))
    torch.testing.assert_close(network.fc.weight, state["fc.weight"], rtol=1e-3, atol=1e-4)


def test_other_weights_come_from_no_run(tmp_path, init):
    save_file(weights.read_weights(init), tmp_path / "w.safetensors")
    assert weights.earlier_training(None) is None
    assert weights.earlier_training(str(init)) is None
    assert weights.earlier_training(str(tmp_path / "w.safetensors")) is None
