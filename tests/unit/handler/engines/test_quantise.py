"""Quantisation, against the unquantised network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from handler.engines.quantise import (
    PixelConvolution,
    activation_ranges,
    correct_biases,
    quantise,
    rounding_errors,
)
from handler.model.network import Network, Normalise


@pytest.fixture(scope="module")
def network() -> Network:
    """Random weights and random batch-norm statistics."""
    torch.manual_seed(0)
    made = Network(7)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0, 0.1)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return made.eval()


@pytest.fixture(scope="module")
def pixels() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return list(torch.randint(0, 256, (8, 3, 64, 64)).float().split(4))


@pytest.fixture(scope="module")
def batches(pixels: list[torch.Tensor]) -> list[torch.Tensor]:
    return [Normalise()(batch) for batch in pixels]


@torch.inference_mode()
def outputs(network: Network, batches: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([network(batch) for batch in batches])


def folded(network: Network) -> Network:
    return copy.deepcopy(network).fold_batch_norm()


def quantised(network: Network, ranges: dict[str, tuple[float, float]]) -> Network:
    """Of pixels."""
    normalise = Normalise()
    return quantise(folded(network), ranges, normalise.mean, normalise.std)


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


def test_the_quantised_network_is_close_to_the_exact_one(network, batches, pixels):
    ranges = activation_ranges(folded(network), batches)
    exact, rounded = outputs(network, batches), outputs(quantised(network, ranges), pixels)
    wide = {name: (50 * low, 50 * high) for name, (low, high) in ranges.items()}
    coarse = outputs(quantised(network, wide), pixels)
    spread = (exact - exact.mean(0)).norm()  # small for random weights, so that rounding errors are relatively large
    assert 1e-4 < (rounded - exact).norm() / spread < 0.3
    assert (coarse - exact).norm() > 2 * (rounded - exact).norm()


def test_corrected_biases_bring_the_mean_outputs_nearer(network, batches, pixels):
    ranges = activation_ranges(folded(network), batches)
    ranges = {name: (low, high / 2) for name, (low, high) in ranges.items()}  # cutting off is a one-sided error
    normalise, observed = Normalise(), folded(network)
    errors = rounding_errors(observed, ranges, normalise.mean, normalise.std, batches)
    assert errors.keys() == ranges.keys() and not any(m._forward_hooks for m in observed.modules())
    exact = outputs(network, batches)
    plain, corrected = (
        outputs(quantise(start, ranges, normalise.mean, normalise.std), pixels) - exact
        for start in (folded(network), correct_biases(folded(network), errors))
    )
    assert corrected.mean(0).norm() < 0.7 * plain.mean(0).norm()


def test_convolutions_see_at_most_256_values_and_weights_of_255(network, batches, pixels):
    result = quantised(network, activation_ranges(folded(network), batches))
    seen = []
    original = nn.functional.conv2d

    def watch(x, weight, *rest):
        seen.append((x, weight))
        return original(x, weight, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "conv2d", watch)
        outputs(result, pixels[:1])
    assert len(seen) == 36
    assert max(len(x.unique()) for x, _ in seen) <= 256
    assert max(len(channel.unique()) for _, weight in seen for channel in weight) <= 255
    folded_weights = dict(folded(network).named_parameters())
    largest = folded_weights["layer1.0.conv1.weight"].abs().amax((1, 2, 3))
    torch.testing.assert_close(seen[1][1].abs().amax((1, 2, 3)), largest)


def test_both_readers_of_a_residual_sum_get_the_same_rounded_values(network, batches, pixels):
    """A convolution that rounded its own input would leave the other reader of the sum with 32-bit values."""
    result = quantised(network, activation_ranges(folded(network), batches))
    sums = []
    for layer in (result.layer1, result.layer2, result.layer3):
        for block in layer:
            block.register_forward_hook(lambda _, __, output: sums.append(len(output.unique())))
    outputs(result, pixels[:1])
    assert len(sums) == 13 and max(sums) <= 256


def test_whole_pixels_lose_nothing_in_the_first_convolution(pixels):
    """With weights that are multiples of their step, only the rounded margin can differ."""
    convolution = nn.Conv2d(3, 2, 7, 2, 3)
    normalise = Normalise()
    with torch.no_grad():
        convolution.weight.copy_(torch.randint(-126, 127, convolution.weight.shape) / 127 * normalise.std)
        convolution.weight[:, :, 0, 0] = normalise.std[:, :, 0, 0]
        exact = convolution(normalise(pixels[0]))
        rounded = PixelConvolution(convolution, normalise.mean, normalise.std)(pixels[0])
    torch.testing.assert_close(rounded[..., 2:-2, 2:-2], exact[..., 2:-2, 2:-2], rtol=0, atol=2e-3)
    assert (rounded - exact).abs().max() < 0.5 * convolution.weight.abs().sum((1, 2, 3)).max() / normalise.std.min()
