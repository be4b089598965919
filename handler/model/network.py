"""The network's architecture. To use another one, replace the class :class:`Network`.

``tests/unit/handler/model/test_network.py`` has an example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import ResNet, ResNet34_Weights
from torchvision.models.resnet import BasicBlock

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's channel statistics, for pixels scaled to 0–1: those that :meth:`Network.pretrained` was trained with."""


class Network(ResNet):
    """ResNet34 with torchvision's parameter names: from normalised pixels (N, 3, H, W) to logits (N, classes).

    Attributes:
        architecture: its name in checkpoints, answers and messages.
        head: name of the last layer, whose shape depends on the number of classes.
    """

    architecture: ClassVar = "resnet34"
    head: ClassVar = "fc"
    conv1: Any
    bn1: Any

    def __init__(self, classes: int) -> None:
        super().__init__(BasicBlock, [3, 4, 6, 3], num_classes=classes)

    @staticmethod
    def pretrained() -> tuple[dict[str, torch.Tensor], str]:
        """ImageNet weights, from torchvision's cache or downloaded, and their name.

        Raises:
            OSError, http.client.HTTPException: the download failed.
            RuntimeError: the file has the wrong checksum.
        """
        weights = ResNet34_Weights.IMAGENET1K_V1
        return dict(weights.get_state_dict(progress=False, check_hash=True)), f"torchvision {weights}"

    def features_and_logits(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features for the novelty score, (N, D), which are layer 3's output averaged over the picture, and logits."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        features = x.mean(dim=(2, 3))
        return features, self.fc(torch.flatten(self.avgpool(self.layer4(x)), 1))

    def fold_batch_norm(self) -> Self:
        """Fold each batch norm into the convolution before it, in place; for evaluation. Returns the network."""
        self.conv1, self.bn1 = fuse_conv_bn_eval(self.conv1, self.bn1), nn.Identity()
        for name in self._blocks():
            block = self.get_submodule(name)
            block.conv1, block.bn1 = fuse_conv_bn_eval(block.conv1, block.bn1), nn.Identity()
            block.conv2, block.bn2 = fuse_conv_bn_eval(block.conv2, block.bn2), nn.Identity()
            if block.downsample is not None:
                block.downsample = fuse_conv_bn_eval(*block.downsample)
        return self

    def activations_to_round(self) -> dict[str, str]:
        """Where an 8-bit version of the folded network rounds activations, apart from the pixels.

        Maps each module's name to the name of the convolution whose input range applies. A convolution that is mapped
        to itself rounds its input; any other module rounds its output. Modules precede those that contain them.
        """
        blocks = self._blocks()
        inside = {f"{name}.conv2": f"{name}.conv2" for name in blocks}
        # The output of a block goes to the next block's first convolution and to its shortcut.
        between = {name: f"{following}.conv1" for name, following in zip(["maxpool", *blocks], blocks, strict=False)}
        return inside | between

    def _blocks(self) -> list[str]:
        return [name for name, module in self.named_modules() if isinstance(module, BasicBlock)]


class Normalise(nn.Module):
    """Standardises pixels 0–255 of shape (N, 3, H, W)."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels - self.mean) / self.std
