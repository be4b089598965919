"""The checkpoint: the trained network with its calibration, as :mod:`train.main_train` writes and serving reads it."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from api.classes import CLASSES
from api.files import write_atomically
from handler.engines.quantise import Errors, Ranges
from handler.model.images import SIZE
from handler.model.inference import Novelty
from handler.model.network import MEAN, STD, Network

PREPROCESSING: dict[str, Any] = {
    "size": SIZE,
    "resize": "shorter side, bicubic, antialiased",
    "crop": "centre square",
    "mean": list(MEAN),
    "std": list(STD),
}

FORMAT = 1
"""Version of the checkpoint's layout."""


_LFS_POINTER = b"version https://git-lfs"


class CheckpointError(ValueError):
    """The file is not a checkpoint of MLBIO. The message says why."""


def as_float32(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights in float32; integer counters stay as they are."""
    return {name: v.float() if v.is_floating_point() else v for name, v in state.items()}


def load_tensors(path: str | os.PathLike[str]) -> Any:
    """What ``torch.save`` wrote, without executing code that the file might contain; raises what torch raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickle's protocol, before the error
        return torch.load(path, map_location="cpu", weights_only=True)


def why_unreadable(path: str | os.PathLike[str]) -> str:
    """Why torch or safetensors cannot read the weights in ``path``; torch's advice is to run the code in it."""
    try:
        with open(path, "rb") as file:
            start = file.read(len(_LFS_POINTER))
    except OSError as error:
        return error.strerror or str(error)
    if not start:
        return "it is empty"
    if start == _LFS_POINTER:
        return "it is a pointer of Git LFS: get the file itself with `git lfs pull`"
    return "it is damaged, or holds something else than the tensors that torch.save(model.state_dict(), ...) writes"


@dataclass
class Checkpoint:
    """A trained network with everything that was fitted for it.

    Attributes:
        state: the weights of a :class:`handler.model.network.Network`.
        classes: ``dx`` codes in the order of the network's outputs.
        temperature: divisor of the logits before softmax (Guo et al., "On Calibration of Modern Neural Networks",
            ICML 2017), fitted on validation images.
        bias: added to the logits before the division, a number per class (Menon et al., "Long-tail learning via logit
            adjustment", ICLR 2021), fitted on validation images.
        preprocessing: see :data:`PREPROCESSING`.
        training: metadata of the run: epochs, recipe, seed, validation metrics.
        malignant_threshold: a photograph is flagged if the malignant diagnoses' summed probability reaches it. This
            and all of the following are None until the run has ended, and some in files of older versions.
        plausible_threshold: a diagnosis cannot be excluded if its probability reaches it
            (:func:`handler.model.calibration.plausible`).
        novelty: computes the novelty score.
        ranges: of activations, for 8-bit quantisation.
        rounding_errors: caused by quantisation with these ranges.
    """

    state: dict[str, torch.Tensor]
    classes: list[str] = field(default_factory=lambda: list(CLASSES))
    temperature: float = 1.0
    bias: list[float] = field(default_factory=list)
    preprocessing: dict[str, Any] = field(default_factory=lambda: dict(PREPROCESSING))
    training: dict[str, Any] = field(default_factory=dict)
    malignant_threshold: float | None = None
    plausible_threshold: float | None = None
    novelty: Novelty | None = None
    ranges: Ranges | None = None
    rounding_errors: Errors | None = None

    def __post_init__(self) -> None:
        self.bias = self.bias or [0.0] * len(self.classes)

    @property
    def architecture(self) -> str:
        """Name of the network's architecture."""
        return Network.architecture

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file atomically, with weights in float16 and batch-norm statistics in float32."""
        half = {
            name: value.detach().cpu().contiguous().to(torch.float32 if "running_" in name else torch.float16)
            if value.is_floating_point()
            else value.detach().cpu()
            for name, value in self.state.items()
        }
        content = {
            "format": FORMAT,
            "architecture": self.architecture,
            "state_dict": half,
            "classes": list(self.classes),
            "names": [CLASSES[c] for c in self.classes],
            "temperature": float(self.temperature),
            "bias": [float(b) for b in self.bias],
            "preprocessing": self.preprocessing,
            "training": self.training,
            "malignant_threshold": self.malignant_threshold,
            "plausible_threshold": self.plausible_threshold,
            "novelty": None if self.novelty is None else self.novelty.content(),
            "ranges": self.ranges,
            "rounding_errors": self.rounding_errors,
        }
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as partial:
            torch.save(content, partial)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Read a file without executing code that it might contain (``weights_only=True``).

        Raises:
            CheckpointError: missing, not a checkpoint, or of another architecture, format or set of classes.
        """
        try:
            content = load_tensors(path)
        except FileNotFoundError:
            raise CheckpointError(f"{path} does not exist") from None
        except Exception:  # torch raises pickle, zip and runtime errors alike
            raise CheckpointError(f"{path} is not a checkpoint ({why_unreadable(path)})") from None
        if not isinstance(content, dict) or "architecture" not in content or "state_dict" not in content:
            raise CheckpointError(f"{path} is not a checkpoint of train/main_train.py")
        if content["architecture"] != Network.architecture:
            raise CheckpointError(f"{path} is a {content['architecture']}; this version reads {Network.architecture}")
        if content.get("format") != FORMAT:
            raise CheckpointError(f"{path} has format {content.get('format')}; this version reads {FORMAT}")
        missing = [name for name in ("classes", "temperature", "preprocessing", "training") if name not in content]
        if missing:
            raise CheckpointError(f"{path} is incomplete: it has no {missing[0]}")
        unknown = [c for c in content["classes"] if c not in CLASSES]
        if unknown:
            raise CheckpointError(f"{path} knows the class {unknown[0]}, which has no documented name")
        temperature = float(content["temperature"])
        if not math.isfinite(temperature) or temperature <= 0:
            raise CheckpointError(f"{path} has temperature {temperature}; it must be positive")
        return cls(
            state=as_float32(content["state_dict"]),
            classes=list(content["classes"]),
            temperature=temperature,
            bias=content.get("bias", []),
            preprocessing=content["preprocessing"],
            training=content["training"],
            malignant_threshold=content.get("malignant_threshold"),
            plausible_threshold=content.get("plausible_threshold"),
            novelty=Novelty(**content["novelty"]) if content.get("novelty") else None,
            ranges=content.get("ranges"),
            rounding_errors=content.get("rounding_errors"),
        )

    def network(self) -> Network:
        """A float32 network with these weights, in evaluation mode.

        Raises:
            CheckpointError: the weights are those of another network.
        """
        network = Network(len(self.classes))
        try:
            network.load_state_dict(self.state)
        except RuntimeError:
            raise CheckpointError(f"the checkpoint's weights do not fit a {self.architecture} of its classes") from None
        return network.eval()
