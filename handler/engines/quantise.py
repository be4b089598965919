"""8-bit quantisation of the network, for LIME's thousands of perturbations on a CPU.

Weights are quantised per channel, inputs of convolutions and sums of residual blocks per tensor, by their ranges on
training images (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018). Pixels are already integers, so that quantisation does not change them. OpenVINO computes with
integers where the graph has fake-quantisation operators. ``docs/speed.md`` has speed and error.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import nn

from handler.model.network import Network

Ranges = dict[str, tuple[float, float]]
"""Smallest and largest input of each convolution, by the convolution's name."""

Errors = dict[str, torch.Tensor]
"""Mean error of each convolution's outputs that rounding causes, (channels,), by the convolution's name."""

Observer = Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], None]


@torch.inference_mode()
def activation_ranges(network: Network, batches: Iterable[torch.Tensor]) -> Ranges:
    """Ranges of the convolutions' inputs of a folded network over normalised ``batches`` (N, 3, H, W).

    The upper end is the mean of the batches' maxima, so that a single outlier does not coarsen all other values.
    """
    seen: dict[str, list[tuple[float, float]]] = {}

    def observer(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        return lambda _, inputs: seen.setdefault(name, []).append((float(inputs[0].min()), float(inputs[0].max())))

    hooks = [c.register_forward_pre_hook(observer(name)) for name, c in convolutions(network)]
    for batch in batches:
        network(batch)
    for hook in hooks:
        hook.remove()
    return {name: (min(low for low, _ in r), sum(high for _, high in r) / len(r)) for name, r in seen.items()}


@torch.inference_mode()
def rounding_errors(
    network: Network, ranges: Ranges, mean: torch.Tensor, std: torch.Tensor, batches: Iterable[torch.Tensor]
) -> Errors:
    """Mean errors that :func:`quantise` will cause, over normalised ``batches`` (N, 3, H, W).

    The error of each convolution is measured separately, on the rounded inputs that it has in the exact network.
    """
    seen: dict[str, list[torch.Tensor]] = {}
    first = convolutions(network)[0][0]

    def observer(name: str, convolution: nn.Conv2d) -> Observer:
        rounded: nn.Module
        if name == first:
            rounded = PixelConvolution(convolution, mean, std)
        else:
            rounded = nn.Sequential(Rounding(*ranges[name]), RoundedWeights(convolution))

        def observe(_: nn.Module, inputs: tuple[torch.Tensor, ...], exact: torch.Tensor) -> None:
            found = rounded(inputs[0] * std + mean if name == first else inputs[0])
            seen.setdefault(name, []).append((found - exact).mean((0, 2, 3)))

        return observe

    hooks = [c.register_forward_hook(observer(name, c)) for name, c in convolutions(network)]
    for batch in batches:
        network(batch)
    for hook in hooks:
        hook.remove()
    return {name: torch.stack(errors).mean(0) for name, errors in seen.items()}


def correct_biases(network: Network, errors: Errors) -> Network:
    """Subtract ``errors`` from a folded network's biases (Nagel et al., "Data-Free Quantization Through Weight
    Equalization and Bias Correction", ICCV 2019). ``network`` is changed in place and returned.
    """
    for name, convolution in convolutions(network):
        if name in errors and convolution.bias is not None:
            convolution.bias = nn.Parameter(convolution.bias.detach() - errors[name])
    return network


def quantise(network: Network, ranges: Ranges, mean: torch.Tensor, std: torch.Tensor) -> Network:
    """Quantise a folded network, which is changed in place and returned.

    Args:
        network: takes normalised pixels; the quantised network takes pixels from 0 to 255 instead.
        ranges: see :func:`activation_ranges`.
        mean: of the normalisation, (1, 3, 1, 1).
        std: likewise.

    Raises:
        KeyError: ``ranges`` lacks a convolution.
    """
    missing = {name for name, _ in convolutions(network)} - ranges.keys()
    if missing:
        raise KeyError(min(missing))
    (first, convolution), *others = convolutions(network)
    network.set_submodule(first, PixelConvolution(convolution, mean, std))
    for name, convolution in others:
        network.set_submodule(name, RoundedWeights(convolution))
    for name, read_by in network.activations_to_round().items():
        module, rounding = network.get_submodule(name), Rounding(*ranges[read_by])
        order = (rounding, module) if name == read_by else (module, rounding)
        network.set_submodule(name, nn.Sequential(*order))
    return network


class Rounding(nn.Module):
    """Rounds to 256 levels between ``low`` and ``high``."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        # After a ReLU, no level is needed for negative values.
        self.minimum, self.maximum = (0, 255) if low >= 0 else (-128, 127)
        self.step = max(high / self.maximum, low / self.minimum if self.minimum else 0.0, 1e-8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fake_quantize_per_tensor_affine(x, self.step, 0, self.minimum, self.maximum)


class RoundedWeights(nn.Module):
    """A convolution whose weights are rounded to 255 levels per channel."""

    step: torch.Tensor
    zero: torch.Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        largest = convolution.weight.detach().abs().amax((1, 2, 3))
        self.register_buffer("step", (largest / 127).clamp_min(1e-9))
        self.register_buffer("zero", torch.zeros(len(largest), dtype=torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        c = self.convolution
        weight = torch.fake_quantize_per_channel_affine(c.weight, self.step, self.zero, 0, -127, 127)
        return nn.functional.conv2d(x, weight, c.bias, c.stride, c.padding)


class PixelConvolution(nn.Module):
    """The first convolution, with the normalisation in its weights, so that its inputs are integers: pixels - 128.

    It pads with the pixels' mean, rounded to an integer, which corresponds to the zeros of normalised padding.
    """

    mean: torch.Tensor

    def __init__(self, convolution: nn.Conv2d, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        folded = copy.deepcopy(convolution)
        folded.weight = nn.Parameter(convolution.weight.detach() / std)
        shift = (folded.weight.detach() * (128 - mean)).sum((1, 2, 3))
        folded.bias = nn.Parameter(shift if convolution.bias is None else convolution.bias.detach() + shift)
        folded.padding = (0, 0)
        self.padding = [int(p) for p in convolution.padding for _ in range(2)]  # of a square kernel
        self.register_buffer("mean", mean)
        self.convolution = nn.Sequential(Rounding(-128, 127), RoundedWeights(folded))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        padded = nn.functional.pad(pixels - self.mean, self.padding) + (self.mean - 128)
        return self.convolution(padded)


def convolutions(network: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    """The convolutions of a network and their names, in the order of computation."""
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
