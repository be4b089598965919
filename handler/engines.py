"""Inference engines for a checkpoint: OpenVINO on CPUs, torch on CUDA."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

# Without this, OpenVINO sends telemetry about every conversion over the network.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov
import torch
from torch import nn

from handler.checkpoint import Checkpoint
from handler.images import SIZE
from handler.network import PixelsToProbabilities
from handler.quantise import fold_batch_norm, quantise

Engine = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Contiguous ``uint8`` (N, 224, 224, 3) in, float32 (N, classes) and (N,) out, as :class:`PixelsToProbabilities`."""


class Classifier:
    """Batched inference with two engines.

    :meth:`probabilities` computes the answer in float32. :meth:`sample_probabilities` is for LIME's thousands of
    perturbations: 8-bit integers on a CPU (bf16 or float32 for a checkpoint without ranges), float16 on CUDA.

    Args:
        checkpoint: the trained weights.
        device: ``"cpu"`` (OpenVINO) or a CUDA device such as ``"cuda:0"`` (torch).
        threads: CPU threads; all cores unless given.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", threads: int | None = None) -> None:
        self.classes = checkpoint.classes
        self.device = device
        cuda = device.startswith("cuda")
        engines = _cuda_engines(checkpoint, device) if cuda else _cpu_engines(checkpoint, threads)
        self._exact, self._fast = engines

    def assess(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (N, classes) and novelty scores (N,), float32, of ``uint8`` squares (N, 224, 224, 3).

        Raises:
            ValueError: ``pixels`` has another type or shape.
        """
        return self._run(self._exact, pixels)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """The probabilities of :meth:`assess`."""
        return self.assess(pixels)[0]

    def sample_probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """As :meth:`probabilities`, faster, accurate to about two digits."""
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
    module = PixelsToProbabilities(checkpoint).eval().to(device).to(memory_format=torch.channels_last)

    def engine(half: bool) -> Engine:
        def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            with torch.inference_mode(), torch.autocast("cuda", dtype=torch.float16, enabled=half):
                outputs = module(torch.from_numpy(pixels).to(device))
            return outputs[0].float().cpu().numpy(), outputs[1].float().cpu().numpy()

        return run

    return engine(half=False), engine(half=True)
