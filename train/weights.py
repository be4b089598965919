"""The weights that a run starts from."""

from __future__ import annotations

import hashlib
import http.client
from pathlib import Path
from typing import Any

import torch
from torchvision.models import ResNet, ResNet34_Weights, resnet34

from api.arguments import UsageError
from api.classes import CLASSES
from handler.model.checkpoint import as_float32, first_line


def starting_network(init: str | None) -> tuple[ResNet, str]:
    """A ResNet34 for ``CLASSES``, and a description of where its weights come from.

    The last layer is initialised at random, unless ``init`` is a checkpoint of ``main_train.py``.

    Args:
        init: a file for :func:`read_weights`; None downloads torchvision's ImageNet weights.

    Raises:
        UsageError: the weights cannot be read or downloaded, or are not a ResNet34's.
    """
    if init is None:
        weights, source = imagenet_weights(), "torchvision ResNet34_Weights.IMAGENET1K_V1"
    else:
        weights, source = read_weights(Path(init)), Path(init).name
    network = resnet34(num_classes=len(CLASSES))
    if weights.get("fc.weight", network.fc.weight).shape != network.fc.weight.shape:
        weights = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    try:
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except RuntimeError:
        raise UsageError(f"--init {init} does not hold a ResNet34: its tensors have other shapes") from None
    wrong_names = [*unexpected, *(name for name in missing if not name.startswith("fc."))]
    if wrong_names:
        raise UsageError(f"--init {init} does not hold a ResNet34 in torchvision's names ({wrong_names[0]})")
    return network, source


def imagenet_weights() -> dict[str, torch.Tensor]:
    """torchvision's ResNet34, from its cache or downloaded.

    Raises:
        UsageError: the download failed.
    """
    try:
        return dict(ResNet34_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True))
    except (OSError, http.client.HTTPException, RuntimeError) as error:  # RuntimeError: wrong hash
        raise UsageError(
            f"torchvision's ImageNet weights cannot be downloaded ({error}): give a file with --init"
        ) from None


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The float32 tensors of a .safetensors file, a plain state dict, or a checkpoint of ``main_train.py``.

    Raises:
        UsageError: the file is missing, unreadable or holds something else.
    """
    if not path.is_file():
        raise UsageError(f"--init {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip and runtime errors alike
        raise UsageError(f"--init {path} cannot be read ({first_line(error)})") from None
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise UsageError(f"--init {path} does not hold weights by name")
    return as_float32(weights)


def previous_training(init: str | None) -> dict[str, Any] | None:
    """``Checkpoint.training`` of ``init``, None unless it is a checkpoint of ``main_train.py``."""
    if init is None or Path(init).suffix == ".safetensors":
        return None
    content = torch.load(init, map_location="cpu", weights_only=True)
    return content.get("training") if "architecture" in content else None


def weights_digest(state: dict[str, torch.Tensor]) -> str:
    """SHA-256 of a state dict's names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        values = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {values.dtype} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
