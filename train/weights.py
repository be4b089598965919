"""Initial weights of a run."""

from __future__ import annotations

import hashlib
import http.client
from pathlib import Path
from typing import Any

import torch

from api.arguments import UsageError
from api.classes import CLASSES
from handler.model.checkpoint import as_float32, load_tensors, why_unreadable
from handler.model.network import Network


def starting_network(init: str | None) -> tuple[Network, str]:
    """A network for ``CLASSES``, and a description of the origin of its weights.

    The last layer is initialised at random, unless ``init`` is a checkpoint of ``main_train.py``.

    Args:
        init: a file for :func:`read_weights`; None takes the ImageNet weights of :meth:`Network.pretrained`.

    Raises:
        UsageError: the weights cannot be read or downloaded, or are another network's.
    """
    if init is None:
        weights, source = imagenet_weights()
    else:
        weights, source = read_weights(Path(init)), Path(init).name
    network = Network(len(CLASSES))
    fresh = network.state_dict()
    head = [name for name in fresh if name.startswith(f"{network.head}.")]
    if any(name in weights and weights[name].shape != fresh[name].shape for name in head):
        weights = {name: value for name, value in weights.items() if name not in head}
    try:
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except RuntimeError:
        raise UsageError(f"--init {init} does not hold a {network.architecture}: the shapes differ") from None
    wrong_names = [*unexpected, *(name for name in missing if name not in head)]
    if wrong_names:
        raise UsageError(f"--init {init} does not hold a {network.architecture}: its names differ ({wrong_names[0]})")
    return network, source


def imagenet_weights() -> tuple[dict[str, torch.Tensor], str]:
    """The weights of :meth:`Network.pretrained`, and their name.

    Raises:
        UsageError: the download failed.
    """
    try:
        return Network.pretrained()
    except (OSError, http.client.HTTPException, RuntimeError) as error:  # RuntimeError: wrong hash
        raise UsageError(f"the ImageNet weights cannot be downloaded ({error}): give a file with --init") from None


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The float32 tensors of a .safetensors file, a plain state dict, or a checkpoint of ``main_train.py``.

    Raises:
        UsageError: the file is missing, unreadable or holds something else.
    """
    if not path.exists():
        raise UsageError(f"--init {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            content = load_tensors(path)
    except Exception:  # torch raises pickle, zip and runtime errors alike
        raise UsageError(f"--init {path} cannot be read ({why_unreadable(path)})") from None
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise UsageError(f"--init {path} does not hold weights by name")
    return as_float32(weights)


def previous_training(init: str | None) -> dict[str, Any] | None:
    """``Checkpoint.training`` of ``init``, None unless it is a checkpoint of ``main_train.py``."""
    if init is None or Path(init).suffix == ".safetensors":
        return None
    content = load_tensors(init)
    return content.get("training") if "architecture" in content else None


def weights_digest(state: dict[str, torch.Tensor]) -> str:
    """SHA-256 of a state dict's names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        values = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {values.dtype} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
