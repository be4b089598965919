"""The network on an NVIDIA GPU, in torch.

A forward pass launches a hundred kernels, which for a small batch takes longer than the computation. Batches are
therefore padded to one of a few sizes, and the pass of each size is captured as a CUDA graph on first use.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn

from handler.model.checkpoint import Checkpoint
from handler.model.inference import PixelsToProbabilities

logger = logging.getLogger("mlbio.handler")

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
"""Sizes of captured batches; larger batches are split."""

_lock = threading.Lock()
"""A process cannot capture or replay a graph while it captures another."""

WARM_UP = 3
"""Passes before the capture, in which cuDNN selects its algorithms."""

Outputs = tuple[torch.Tensor, torch.Tensor]
"""Probabilities (N, classes) and novelty scores (N,)."""


def usable(device: str) -> bool:
    """Whether torch can use ``device``, such as ``"cuda:0"``; if not, logs the reason."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, torch.cuda.DeferredCudaCallError) as error:  # Assertion: built without CUDA
        logger.warning("torch cannot use %s, so the CPU answers: %s", device, str(error).partition("\n")[0])
        return False
    return True


class Cuda:
    """The engines of :class:`handler.engines.classifier.Classifier`: float32 for predictions, float16 for samples.

    By torch's default, float32 convolutions use TF32 on GPUs that support it.
    """

    arithmetic: Literal["float32", "bfloat16"] = "float32"
    batch = SIZES[-1]

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        self.device = torch.device(device)
        torch.backends.cudnn.benchmark = True  # the sizes are few
        self._answers = CapturedNetwork(PixelsToProbabilities(checkpoint), self.device)
        self._samples = CapturedNetwork(half_precision(checkpoint), self.device)

    def answers(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._answers(torch.from_numpy(pixels).to(self.device))

    def samples(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._samples(torch.from_numpy(pixels).to(self.device))

    def sampler(
        self, square: np.ndarray, hidden: np.ndarray, segments: np.ndarray
    ) -> Callable[[np.ndarray], np.ndarray]:
        shown, covered = (torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for a in (square, hidden))
        regions = torch.from_numpy(segments.astype(np.int64)).to(self.device)

        def run(masks: np.ndarray) -> np.ndarray:
            visible = torch.from_numpy(masks).to(self.device)[:, regions, None]
            return self._samples(torch.where(visible, shown, covered))[0]

        return run


def half_precision(checkpoint: Checkpoint) -> PixelsToProbabilities:
    """The network in float16. Batch norm is folded into the convolutions, as float16 is too coarse for variances."""
    module = PixelsToProbabilities(checkpoint)
    module.network.fold_batch_norm().half()
    module.normalise = nn.Sequential(module.normalise, _Half())
    return module


class _Half(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.half()


class CapturedNetwork:
    """A network that replays CUDA graphs, one for each of :data:`SIZES`. It is thread-safe.

    On a CPU, passes are computed directly.
    """

    def __init__(self, module: PixelsToProbabilities, device: torch.device) -> None:
        self._module = module.eval().to(device).to(memory_format=torch.channels_last)
        self._device = device
        self._passes: dict[int, tuple[torch.Tensor, Callable[[], Outputs]]] = {}

    @torch.inference_mode()
    def __call__(self, pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and novelty scores, float32, of ``uint8`` squares (N, 224, 224, 3) on the device."""
        with _lock:
            parts = [self._run(part) for part in pixels.split(SIZES[-1])]
        probabilities, novelty = zip(*parts, strict=True)
        return np.concatenate(probabilities), np.concatenate(novelty)

    def _run(self, pixels: torch.Tensor) -> Sequence[np.ndarray]:
        size = next(size for size in SIZES if size >= len(pixels))
        if size not in self._passes:
            inputs = torch.zeros_like(pixels[:1]).repeat(size, 1, 1, 1)
            self._passes[size] = inputs, self._capture(inputs)
        inputs, run = self._passes[size]
        inputs[: len(pixels)].copy_(pixels)  # the rest of the outputs is ignored
        return [output[: len(pixels)].float().cpu().numpy() for output in run()]

    def _capture(self, inputs: torch.Tensor) -> Callable[[], Outputs]:
        """A function that runs the network on the current content of ``inputs``."""

        def plain() -> Outputs:
            return self._module(inputs)

        if self._device.type != "cuda":
            return plain
        try:
            with torch.cuda.device(self._device):  # otherwise torch also synchronises the first GPU
                stream = torch.cuda.Stream()
                stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(stream):
                    for _ in range(WARM_UP):
                        plain()
                torch.cuda.current_stream().wait_stream(stream)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                    outputs = plain()
        except RuntimeError:
            logger.exception("no CUDA graph for batches of %d: their kernels are launched one by one", len(inputs))
            return plain

        def replay() -> Outputs:
            graph.replay()
            return outputs

        return replay
