"""Inference engines: OpenVINO on CPUs; torch on GPUs (:mod:`handler.engines.cuda`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from handler.engines.graphs import Arithmetic, Graphs, compile_graph, core, ov
from handler.engines.saturation import saturates, without_saturation
from handler.model.calibration import BiasSetting
from handler.model.images import SIZE

if TYPE_CHECKING:
    from handler.engines.cuda import Cuda
    from handler.model.checkpoint import Checkpoint

Engine = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Maps contiguous ``uint8`` (N, 224, 224, 3) to float32 probabilities (N, classes) and novelty scores (N,)."""

Sampler = Callable[[np.ndarray], np.ndarray]
"""Maps boolean masks (N, regions) of one photograph to probabilities (N, classes); False hides a region."""

ARITHMETIC_VARIABLE = "MLBIO_PRECISION"
_ARITHMETIC_WORDS: dict[str, Arithmetic] = {
    "float32": "float32", "f32": "float32", "bfloat16": "bfloat16", "bf16": "bfloat16"
}  # fmt: skip


class Classifier:
    """Batched inference.

    :meth:`assess` computes predictions, in bfloat16 on CPUs that support it and in float32 elsewhere.
    :meth:`sampler` and :meth:`sample_probabilities` are for LIME's thousands of perturbations. They use 8-bit integers
    on a CPU (unless the checkpoint has no ranges) and float16 on CUDA.

    Args:
        model: a checkpoint, or its graphs.
        device: ``"cpu"`` (OpenVINO) or a CUDA device such as ``"cuda:0"`` (torch), which needs a checkpoint.
        threads: CPU threads (default: :func:`handler.engines.cores.thread_limit`).
        arithmetic: of predictions on a CPU (default: :func:`fastest_arithmetic`).
        classes: ``dx`` codes in the order of the outputs; required for graphs.
        bias: replaces the model's own bias of rare classes.

    Attributes:
        arithmetic: of predictions.
        batch: the most efficient number of masks per call of a sampler.
    """

    def __init__(
        self,
        model: Checkpoint | Graphs,
        device: str = "cpu",
        threads: int | None = None,
        arithmetic: Arithmetic | None = None,
        classes: list[str] | None = None,
        bias: BiasSetting | None = None,
    ) -> None:
        self.device = device
        self.bias = bias
        engines: _OpenVino | Cuda
        if isinstance(model, Graphs):
            self.classes = classes or []
            engines = _OpenVino(model, threads, arithmetic)
        elif device.startswith("cuda"):
            from handler.engines.cuda import Cuda

            self.classes = model.classes
            engines = Cuda(model, device)
        else:
            from handler.engines.convert import convert

            self.classes = model.classes
            engines = _OpenVino(convert(model), threads, arithmetic)
        self.arithmetic: Arithmetic = engines.arithmetic
        self.batch = engines.batch
        self._engines = engines

    def assess(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (N, classes) and novelty scores (N,), float32, of ``uint8`` squares (N, 224, 224, 3).

        Raises:
            ValueError: ``pixels`` has another type or shape.
        """
        return self._run(self._engines.answers, pixels)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """The probabilities of :meth:`assess`."""
        return self.assess(pixels)[0]

    def sample_probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """As :meth:`probabilities`, faster, accurate to about two digits."""
        return self._run(self._engines.samples, pixels)[0]

    def sampler(self, square: np.ndarray, hidden: np.ndarray, segments: np.ndarray) -> Sampler:
        """As :meth:`sample_probabilities`, for a photograph whose regions the engine itself hides.

        Args:
            square: the photograph, ``uint8`` (224, 224, 3).
            hidden: pixels of hidden regions, ``uint8`` (224, 224, 3).
            segments: the number of each pixel's region, (224, 224).
        """
        sampler = self._engines.sampler(square, hidden, segments)
        return lambda masks: self._with_bias(sampler(masks))

    def _run(self, engine: Engine, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (SIZE, SIZE, 3):
            raise ValueError(f"expected uint8 (N, {SIZE}, {SIZE}, 3), got {pixels.dtype} {pixels.shape}")
        if not len(pixels):
            return np.zeros((0, len(self.classes)), np.float32), np.zeros(0, np.float32)
        probabilities, novelty = engine(np.ascontiguousarray(pixels))
        return self._with_bias(probabilities), novelty

    def _with_bias(self, probabilities: np.ndarray) -> np.ndarray:
        return probabilities if self.bias is None else self.bias.apply(probabilities, self.classes)


class _OpenVino:
    """Compiled graphs."""

    batch = 32

    def __init__(self, graphs: Graphs, threads: int | None, arithmetic: Arithmetic | None) -> None:
        self.arithmetic = arithmetic or fastest_arithmetic()
        self._threads = threads
        self._quantised = graphs.samples is not None
        self._samples_graph = graphs.samples or graphs.answers
        # The rest of the 8-bit graph is in float32, so that explanations do not depend on the CPU having bfloat16.
        self._samples_arithmetic: Arithmetic = "float32" if self._quantised else self.arithmetic
        self._answers = compile_graph(graphs.answers, self.arithmetic, threads)

    @cached_property
    def _graph_of_samples(self) -> ov.Model:
        return without_saturation(self._samples_graph) if self._quantised and saturates() else self._samples_graph

    @cached_property
    def _samples(self) -> ov.CompiledModel:
        return compile_graph(self._graph_of_samples, self._samples_arithmetic, self._threads)

    @cached_property
    def _sampler(self) -> ov.CompiledModel:
        return compile_graph(_with_masks(self._graph_of_samples), self._samples_arithmetic, self._threads)

    def answers(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _floats(self._answers(pixels, share_inputs=True))

    def samples(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _floats(self._samples(pixels, share_inputs=True))

    def sampler(self, square: np.ndarray, hidden: np.ndarray, segments: np.ndarray) -> Sampler:
        request = self._sampler.create_infer_request()
        photograph = square.astype(np.float32)
        inputs = {
            "hidden": hidden.astype(np.float32),
            "difference": photograph - hidden,
            "segments": np.ascontiguousarray(segments, np.int32),
        }

        def run(masks: np.ndarray) -> np.ndarray:
            outputs = request.infer(inputs | {"masks": masks.astype(np.float32)}, share_inputs=True)
            return np.array(outputs[0], np.float32)

        return run


def fastest_arithmetic() -> Arithmetic:
    """The environment's ``MLBIO_PRECISION`` if set, otherwise bfloat16 on CPUs that support it, and float32.

    Raises:
        ValueError: the variable has an unknown value.
    """
    word = os.environ.get(ARITHMETIC_VARIABLE, "").lower()
    if word and word not in _ARITHMETIC_WORDS:
        raise ValueError(f"{ARITHMETIC_VARIABLE} is {word!r}: it must be one of {', '.join(_ARITHMETIC_WORDS)}")
    return _ARITHMETIC_WORDS.get(word) or ("bfloat16" if has_bfloat16() else "float32")


def has_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 (AMX or AVX-512)."""
    return "BF16" in core().get_property("CPU", ov.properties.device.capabilities)


def _with_masks(graph: ov.Model) -> ov.Model:
    """``graph`` with masks as its input: each pixel is hidden + mask of its region * difference."""
    from openvino import opset13 as ops

    graph = graph.clone()
    hidden = ops.parameter([SIZE, SIZE, 3], np.float32, name="hidden")
    difference = ops.parameter([SIZE, SIZE, 3], np.float32, name="difference")
    segments = ops.parameter([SIZE, SIZE], np.int32, name="segments")
    masks = ops.parameter([-1, -1], np.float32, name="masks")
    parameters = [hidden, difference, segments, masks]
    for parameter in parameters:
        parameter.output(0).get_tensor().set_names({parameter.get_friendly_name()})
    shown = ops.unsqueeze(ops.gather(masks, segments, np.int64(1)), np.int64(3))  # (N, H, W, 1)
    perturbed = ops.add(ops.multiply(shown, difference), hidden)
    (pixels,) = graph.get_parameters()
    for target in pixels.output(0).get_target_inputs():
        target.replace_source_output(perturbed.output(0))
    return ov.Model([result for result in graph.get_results()], parameters, "samples")


def _floats(outputs: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.array(outputs[0], np.float32), np.array(outputs[1], np.float32)
