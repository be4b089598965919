"""The ResNet34 that a run starts from, and the moving average of its weights that it keeps."""

from __future__ import annotations

import copy
import http.client
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import ResNet34_Weights, resnet34

from handler.classifier import as_float32, first_line
from handler.contract import CLASSES


class SetupError(ValueError):
    """Starting weights, a device or a place to write cannot be had. The message says what to do."""


def starting_network(init: str | None) -> tuple[nn.Module, str]:
    """A ResNet34 of seven classes, and a word on where its weights come from.

    The head is fresh, unless the weights are those of a run of ``main_train.py``.

    Raises:
        SetupError: the weights cannot be had, or are not a ResNet34's.
    """
    if init is None:
        try:
            weights = ResNet34_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
        except (OSError, http.client.HTTPException, RuntimeError) as error:  # RuntimeError: the hash does not fit
            raise SetupError(
                f"torchvision's ImageNet weights cannot be downloaded ({error}): give a file with --init"
            ) from None
        source = "torchvision ResNet34_Weights.IMAGENET1K_V1"
    else:
        weights, source = read_weights(Path(init)), Path(init).name
    network = resnet34(num_classes=len(CLASSES))
    if weights.get("fc.weight", network.fc.weight).shape != network.fc.weight.shape:
        weights = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    try:
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except RuntimeError:
        raise SetupError(f"--init {init} does not hold a ResNet34: its tensors have other shapes") from None
    if unexpected or any(not name.startswith("fc.") for name in missing):
        name = next(iter(unexpected), None) or next(n for n in missing if not n.startswith("fc."))
        raise SetupError(f"--init {init} does not hold a ResNet34 in torchvision's names ({name})")
    return network, source


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The float32 tensors of a .safetensors file, a plain state dict, or a checkpoint of ``main_train.py``.

    Raises:
        SetupError: missing, unreadable, or something else.
    """
    if not path.is_file():
        raise SetupError(f"--init {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip and runtime errors alike
        raise SetupError(f"--init {path} cannot be read ({first_line(error)})") from None
    content = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise SetupError(f"--init {path} does not hold weights by name")
    return as_float32(content)


def earlier_training(init: str | None) -> dict[str, Any] | None:
    """The facts of the run that made ``init``, if ``main_train.py`` did."""
    if init is None or Path(init).suffix == ".safetensors":
        return None
    content = torch.load(init, map_location="cpu", weights_only=True)
    return content.get("training") if "architecture" in content else None


class ExponentialAverage:
    """An exponential moving average of a network's weights (Polyak averaging), with a short memory at first."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        ours, theirs = self.network.state_dict(), network.state_dict()
        for name, value in ours.items():
            if value.is_floating_point():
                value.lerp_(theirs[name], 1 - decay)
            else:
                value.copy_(theirs[name])

    def state(self) -> dict[str, torch.Tensor]:
        return self.network.state_dict()

    def load(self, state: dict[str, torch.Tensor]) -> None:
        self.network.load_state_dict(state)
