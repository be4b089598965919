"""Quantisation, against the unquantised network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.models import resnet34

from handler.quantise import activation_ranges, fold_batch_norm, quantise


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Random weights and random batch-norm statistics."""
    torch.manual_seed(0)
    made = resnet34(num_classes=7)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0, 0.1)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return made.eval()


@pytest.fixture(scope="module")
def batches() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return list(torch.randn(8, 3, 64, 64).split(4))


@torch.inference_mode()
def outputs(network: nn.Module, batches: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([network(batch) for batch in batches])


def folded(network: nn.Module) -> nn.Module:
    return fold_batch_norm(copy.deepcopy(network))


def test_folding_leaves_the_outputs_unchanged(network, batches):
    result = folded(network)
    assert not [m for m in result.modules() if isinstance(m, nn.BatchNorm2d)]
    torch.testing.assert_close(outputs(result, batches), outputs(network, batches), rtol=1e-3, atol=1e-3)


def test_ranges_are_those_of_the_convolutions_inputs(network, batches):
    result = folded(network)
    ranges = activation_ranges(result, batches)
    assert len(ranges) == len([m for m in result.modules() if isinstance(m, nn.Conv2d)]) == 36
    low, high = ranges["conv1"]
    assert low == pytest.approx(min(float(b.min()) for b in batches))
    assert high == pytest.approx(sum(float(b.max()) for b in batches) / 2)
    assert all(low == 0 < high for name, (low, high) in ranges.items() if name != "conv1")  # what follows a ReLU
    assert not any(m._forward_pre_hooks for m in result.modules())


def test_the_quantised_network_is_close_to_the_exact_one(network, batches):
    result = folded(network)
    ranges = activation_ranges(result, batches)
    exact, rounded = outputs(network, batches), outputs(quantise(result, ranges), batches)
    wide = {name: (50 * low, 50 * high) for name, (low, high) in ranges.items()}
    coarse = outputs(quantise(folded(network), wide), batches)
    spread = (exact - exact.mean(0)).norm()  # small for random weights, so that rounding errors are relatively large
    assert 1e-4 < (rounded - exact).norm() / spread < 0.3
    assert (coarse - exact).norm() > 2 * (rounded - exact).norm()


def test_weights_have_at_most_255_values_per_channel(network, batches):
    result = folded(network)
    result = quantise(result, activation_ranges(result, batches))
    seen = []
    convolution = result.layer3[1].conv2
    original = nn.functional.conv2d

    def watch(x, weight, *rest):
        seen.append((x, weight))
        return original(x, weight, *rest)

    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(nn.functional, "conv2d", watch)
        convolution(torch.rand(1, 256, 4, 4) * 3)
    ((x, weight),) = seen
    assert len(weight[0].unique()) <= 255 and len(x.unique()) <= 256
    largest = convolution.convolution.weight.abs().amax((1, 2, 3))
    torch.testing.assert_close(weight.abs().amax((1, 2, 3)), largest)


def test_a_missing_range_is_an_error(network, batches):
    result = folded(network)
    ranges = activation_ranges(result, batches)
    del ranges["layer2.0.conv1"]
    with pytest.raises(KeyError, match="layer2.0.conv1"):
        quantise(result, ranges)
