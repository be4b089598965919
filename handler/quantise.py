"""The network in 8-bit integers, for LIME's thousands of perturbations on a CPU.

Weights are rounded channel by channel, each convolution's input to the range that it had on training images (Jacob et
al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018). The
roundings are written into the graph, where OpenVINO finds them and computes with integers.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import ResNet

Ranges = dict[str, tuple[float, float]]
"""Least and greatest input of each convolution, by its name."""


def fold_batch_norm(network: ResNet) -> ResNet:
    """``network``, changed in place: every batch norm is part of the convolution before it."""
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
    """The ranges of a folded network's inputs over normalised ``batches`` (N, 3, H, W).

    The greatest input is the mean of the batches' greatest: a single bright spot does not cost all others their
    precision.
    """
    seen: dict[str, list[tuple[float, float]]] = {}

    def watch(name: str):
        return lambda _, inputs: seen.setdefault(name, []).append((float(inputs[0].min()), float(inputs[0].max())))

    hooks = [c.register_forward_pre_hook(watch(name)) for name, c in _convolutions(network)]
    for batch in batches:
        network(batch)
    for hook in hooks:
        hook.remove()
    return {name: (min(low for low, _ in r), sum(high for _, high in r) / len(r)) for name, r in seen.items()}


def quantise(network: ResNet, ranges: Ranges) -> ResNet:
    """A folded ``network``, changed in place: weights and inputs of its convolutions are rounded to 8 bits.

    Raises:
        KeyError: ``ranges`` lacks a convolution.
    """
    for name, convolution in list(_convolutions(network)):
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, _Rounded(convolution, *ranges[name]))
    return network


def _convolutions(network: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]


class _Rounded(nn.Module):
    def __init__(self, convolution: nn.Conv2d, low: float, high: float) -> None:
        super().__init__()
        self.convolution = convolution
        # After a ReLU nothing is negative, and all 256 steps go to what is positive.
        self.least, self.greatest = (0, 255) if low >= 0 else (-128, 127)
        self.step = max(high, -low, 1e-6) / self.greatest
        largest = convolution.weight.detach().abs().amax((1, 2, 3))
        self.register_buffer("weight_step", (largest / 127).clamp_min(1e-9))
        self.register_buffer("zero", torch.zeros(len(largest), dtype=torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        c = self.convolution
        x = torch.fake_quantize_per_tensor_affine(x, self.step, 0, self.least, self.greatest)
        weight = torch.fake_quantize_per_channel_affine(c.weight, self.weight_step, self.zero, 0, -127, 127)
        return nn.functional.conv2d(x, weight, c.bias, c.stride, c.padding)
