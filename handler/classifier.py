"""The ResNet34 checkpoint and its batched inference: OpenVINO on a CPU, torch on CUDA."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# Without this, OpenVINO reports every conversion to its maker over the network, unasked.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov
import torch
from torch import nn
from torchvision.models import resnet34

from handler.contract import CLASSES
from handler.images import SIZE
from handler.quantise import Ranges, fold_batch_norm, quantise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's channel statistics, for pixels scaled to 0–1."""

PREPROCESSING: dict[str, Any] = {
    "size": SIZE,
    "resize": "shorter side, bicubic, antialiased",
    "crop": "centre square",
    "mean": list(MEAN),
    "std": list(STD),
}

FORMAT = 1
"""Version of the checkpoint's layout."""

Engine = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Contiguous ``uint8`` (N, 224, 224, 3) in, float32 (N, classes) and (N,) out, as :class:`PixelsToProbabilities`."""


class CheckpointError(ValueError):
    """The file is no checkpoint of this project. Its message says why."""


def save_whole(content: dict[str, Any], path: Path) -> None:
    """``torch.save`` that leaves either the old file or the whole new one, whenever it is interrupted."""
    partial = path.with_name(path.name + ".partial")
    torch.save(content, partial)
    os.replace(partial, path)


def as_float32(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights as they compute; counters stay whole numbers."""
    return {name: v.float() if v.is_floating_point() else v for name, v in state.items()}


def first_line(error: Exception) -> str:
    """What torch says of a file that it cannot load, without the essay behind it."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class Novelty(nn.Module):
    """How unlike the training images a photograph is: above 1, its diagnosis should not be believed.

    The squared Mahalanobis distance of middle features (Lee et al., NeurIPS 2018), one Gaussian for all classes.

    Args:
        mean: of the training images' features, shape (D,).
        whiten: makes their differences from it uncorrelated and of about unit variance, shape (D, D).
        limit: the squared distance that counts as 1; few validation photographs exceed it.
    """

    def __init__(self, mean: torch.Tensor, whiten: torch.Tensor, limit: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("whiten", whiten)
        self.limit = limit

    def forward(self, middle: torch.Tensor) -> torch.Tensor:
        """The score (N,) of features (N, D)."""
        return ((middle - self.mean) @ self.whiten).square().sum(1) / self.limit

    def content(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"mean": self.mean.cpu(), "whiten": self.whiten.cpu(), "limit": self.limit}


def middle_and_logits(network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a ResNet of torchvision computes, half-way and in the end.

    ``x`` is a normalised batch; returned are layer 3's mean over the picture (N, D) and the logits (N, classes).
    """
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    x = network.layer3(network.layer2(network.layer1(x)))
    middle = x.mean(dim=(2, 3))
    return middle, network.fc(torch.flatten(network.avgpool(network.layer4(x)), 1))


@dataclass
class Checkpoint:
    """What :mod:`train.main_train` writes and serving reads.

    Attributes:
        state: ResNet34's weights in torchvision's names.
        classes: ``dx`` codes in the order of the network's outputs.
        temperature: logits are divided by it before softmax (Guo et al., "On Calibration of Modern Neural
            Networks", ICML 2017); fitted on validation.
        bias: added to the logits before that, a number per class (Menon et al., "Long-tail learning via logit
            adjustment", ICLR 2021); fitted on validation.
        preprocessing: see :data:`PREPROCESSING`.
        training: facts of the run that made it: epochs, recipe, seed, figures on validation.
        malignant_threshold: the malignant diagnoses' summed probability from which a photograph is flagged; None
            before the run has ended.
        novelty: how unlike the training images a photograph is; None before the run has ended.
        ranges: of the network's inner values, for computing with 8-bit integers; None before the run has ended.
    """

    state: dict[str, torch.Tensor]
    classes: list[str] = field(default_factory=lambda: list(CLASSES))
    temperature: float = 1.0
    bias: list[float] = field(default_factory=list)
    preprocessing: dict[str, Any] = field(default_factory=lambda: dict(PREPROCESSING))
    training: dict[str, Any] = field(default_factory=dict)
    malignant_threshold: float | None = None
    novelty: Novelty | None = None
    ranges: Ranges | None = None

    def __post_init__(self) -> None:
        self.bias = self.bias or [0.0] * len(self.classes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to ``path``, weights as float16 and batch-norm statistics as float32, all or nothing."""
        half = {
            name: value.detach().cpu().contiguous().to(torch.float32 if "running_" in name else torch.float16)
            if value.is_floating_point()
            else value.detach().cpu()
            for name, value in self.state.items()
        }
        content = {
            "format": FORMAT,
            "architecture": "resnet34",
            "state_dict": half,
            "classes": list(self.classes),
            "names": [CLASSES[c] for c in self.classes],
            "temperature": float(self.temperature),
            "bias": [float(b) for b in self.bias],
            "preprocessing": self.preprocessing,
            "training": self.training,
            "malignant_threshold": self.malignant_threshold,
            "novelty": None if self.novelty is None else self.novelty.content(),
            "ranges": self.ranges,
        }
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_whole(content, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Read ``path`` without running any code that it might hold (``weights_only=True``).

        Raises:
            CheckpointError: missing, not a checkpoint, or one of another architecture, format or set of classes.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise CheckpointError(f"{path} does not exist") from None
        except Exception as error:  # torch raises pickle, zip and runtime errors alike
            raise CheckpointError(f"{path} is not a checkpoint ({first_line(error)})") from None
        if not isinstance(content, dict) or content.get("architecture") != "resnet34" or "state_dict" not in content:
            raise CheckpointError(f"{path} is not a checkpoint of train/main_train.py")
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
            novelty=Novelty(**content["novelty"]) if content.get("novelty") else None,
            ranges=content.get("ranges"),
        )

    def network(self) -> nn.Module:
        """A float32 ResNet34 with these weights, in evaluation mode.

        Raises:
            CheckpointError: the weights are those of another network.
        """
        network = resnet34(num_classes=len(self.classes))
        try:
            network.load_state_dict(self.state)
        except RuntimeError:
            raise CheckpointError("the checkpoint's weights do not fit a ResNet34 of its classes") from None
        return network.eval()


class Normalise(nn.Module):
    """Pixels 0–255 of shape (N, 3, H, W) as the network expects them, in training as in serving."""

    def __init__(self, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels - self.mean) / self.std


class PixelsToProbabilities(nn.Module):
    """Pixels in, calibrated probabilities and novelty out: all in one graph.

    Input (N, 224, 224, 3) with values 0–255; output (N, classes) and (N,), the latter NaN for a checkpoint that
    cannot tell.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.network = checkpoint.network()
        self.temperature = checkpoint.temperature
        self.register_buffer("bias", torch.tensor(checkpoint.bias))
        self.novelty = checkpoint.novelty or (lambda middle: middle[:, 0] * math.nan)
        self.normalise = Normalise(checkpoint.preprocessing["mean"], checkpoint.preprocessing["std"])

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.normalise(pixels.permute(0, 3, 1, 2).float())
        middle, logits = middle_and_logits(self.network, x)
        return torch.softmax((logits.float() + self.bias) / self.temperature, dim=1), self.novelty(middle.float())


class Classifier:
    """Batched inference with a checkpoint, by two engines.

    ``probabilities`` computes in float32, for the figure that is answered. ``sample_probabilities`` is for LIME's
    thousands of perturbations: 8-bit integers on a CPU, 16-bit floating point on CUDA.

    Args:
        checkpoint: the trained weights.
        device: ``"cpu"`` (OpenVINO) or a CUDA device such as ``"cuda:0"`` (torch).
        threads: CPU threads; all cores unless given.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", threads: int | None = None) -> None:
        self.checkpoint = checkpoint
        self.classes = checkpoint.classes
        self.device = device
        cuda = device.startswith("cuda")
        engines = _cuda_engines(checkpoint, device) if cuda else _cpu_engines(checkpoint, threads)
        self._exact, self._fast = engines

    def assess(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (N, classes) and novelty (N,), float32, for ``uint8`` squares of shape (N, 224, 224, 3).

        Novelty is :class:`Novelty`'s score; NaN for a checkpoint that cannot tell.
        """
        return self._run(self._exact, pixels)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Those of :meth:`assess`."""
        return self.assess(pixels)[0]

    def sample_probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """As :meth:`probabilities`, faster and to about two digits."""
        return self._run(self._fast, pixels)[0]

    def _run(self, engine: Engine, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (SIZE, SIZE, 3):
            raise ValueError(f"expected uint8 (N, {SIZE}, {SIZE}, 3), got {pixels.dtype} {pixels.shape}")
        if not len(pixels):
            return np.zeros((0, len(self.classes)), np.float32), np.zeros(0, np.float32)
        return engine(np.ascontiguousarray(pixels))


def _cpu_engines(checkpoint: Checkpoint, threads: int | None) -> tuple[Engine, Engine]:
    core = ov.Core()
    module = PixelsToProbabilities(checkpoint).eval()
    exact = _openvino_engine(core, module, threads, {ov.properties.hint.inference_precision: ov.Type.f32})
    if checkpoint.ranges is not None:
        quantise(fold_batch_norm(module.network), checkpoint.ranges)
        return exact, _openvino_engine(core, module, threads, {})
    if "BF16" in core.get_property("CPU", ov.properties.device.capabilities):
        return exact, _openvino_engine(core, module, threads, {ov.properties.hint.inference_precision: ov.Type.bf16})
    return exact, exact


def _openvino_engine(core: ov.Core, module: nn.Module, threads: int | None, config: dict[str, Any]) -> Engine:
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the tracing that OpenVINO uses deprecated
        example = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)
        model = ov.convert_model(module, example_input=example, input=[-1, SIZE, SIZE, 3])
    hint = ov.properties.hint
    config = {hint.performance_mode: hint.PerformanceMode.LATENCY} | config
    if threads:
        config[ov.properties.inference_num_threads] = threads
    compiled = core.compile_model(model, "CPU", config)

    def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = compiled(pixels, share_inputs=True)
        return np.array(outputs[0], np.float32), np.array(outputs[1], np.float32)

    return run


def _cuda_engines(checkpoint: Checkpoint, device: str) -> tuple[Engine, Engine]:
    module = PixelsToProbabilities(checkpoint).eval().to(device, memory_format=torch.channels_last)

    def engine(half: bool) -> Engine:
        def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            with torch.inference_mode(), torch.autocast("cuda", dtype=torch.float16, enabled=half):
                outputs = module(torch.from_numpy(pixels).to(device))
            return outputs[0].float().cpu().numpy(), outputs[1].float().cpu().numpy()

        return run

    return engine(half=False), engine(half=True)
