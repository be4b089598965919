"""8-bit quantisation of the network, for LIME's thousands of perturbations on a CPU.

Weights are quantised per channel, inputs of convolutions per tensor, by their ranges on training images (Jacob et al.,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018). The graph
has fake-quantisation operators, which make OpenVINO compute with integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import ResNet

Ranges = dict[str, tuple[float, float]]
"""Smallest and largest input of each convolution, by the convolution's name."""


def fold_batch_norm(network: ResNet) -> ResNet:
    """Fold each batch norm into the convolution before it. ``network`` is changed in place and returned."""
    network.conv1, network.bn1 = fuse_conv_bn_eval(network.conv1, network.bn1), nn.Identity()
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in layer:
            block.conv1, block.bn1 = fuse_conv_bn_eval(block.conv1, block.bn1), nn.Identity()
            block.conv2, block.bn2 = fuse_conv_bn_eval(block.conv2, block.bn2), nn.Identity()
            if block.downsample is not None:
                block.downsample = fuse_conv_bn_eval(*block.downsample)
    return network


@torch.inference_mode()
def activation_ranges(network: ResNet, batches: Iterable[torch.Tensor]) -> Ranges:
    """Ranges of the convolutions' inputs of a folded network over normalised ``batches`` (N, 3, H, W).

    The upper end is the mean of the batches' maxima, so that a single outlier does not coarsen all other values.
    """
    seen: dict[str, list[tuple[float, float]]] = {}

    def observer(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        return lambda _, inputs: seen.setdefault(name, []).append((float(inputs[0].min()), float(inputs[0].max())))

    hooks = [c.register_forward_pre_hook(observer(name)) for name, c in _convolutions(network)]
    for batch in batches:
        network(batch)
    for hook in hooks:
        hook.remove()
    return {name: (min(low for low, _ in r), sum(high for _, high in r) / len(r)) for name, r in seen.items()}


def quantise(network: ResNet, ranges: Ranges) -> ResNet:
    """Quantise weights and inputs of a folded network's convolutions. ``network`` is changed in place and returned.

    Raises:
        KeyError: ``ranges`` lacks a convolution.
    """
    for name, convolution in list(_convolutions(network)):
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, _FakeQuantised(convolution, *ranges[name]))
    return network


def _convolutions(network: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]


class _FakeQuantised(nn.Module):
    """A convolution whose weights and inputs are rounded to 8 bits."""

    weight_step: torch.Tensor
    zero: torch.Tensor

    def __init__(self, convolution: nn.Conv2d, low: float, high: float) -> None:
        super().__init__()
        self.convolution = convolution
        # After a ReLU no input is negative, and all 256 levels serve the positive ones.
        self.minimum, self.maximum = (0, 255) if low >= 0 else (-128, 127)
        self.step = max(high, -low, 1e-6) / self.maximum
        largest = convolution.weight.detach().abs().amax((1, 2, 3))
        self.register_buffer("weight_step", (largest / 127).clamp_min(1e-9))
        self.register_buffer("zero", torch.zeros(len(largest), dtype=torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        c = self.convolution
        x = torch.fake_quantize_per_tensor_affine(x, self.step, 0, self.minimum, self.maximum)
        weight = torch.fake_quantize_per_channel_affine(c.weight, self.weight_step, self.zero, 0, -127, 127)
        return nn.functional.conv2d(x, weight, c.bias, c.stride, c.padding)
