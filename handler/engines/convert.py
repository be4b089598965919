"""Conversion of a checkpoint to OpenVINO graphs; the only module that needs both torch and OpenVINO."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from handler.engines.graphs import Graphs, ModelInfo, ov, sha256, stored_measurements
from handler.engines.quantise import correct_biases, quantise
from handler.model.calibration import BiasSetting, FlagRates
from handler.model.checkpoint import Checkpoint
from handler.model.images import SIZE
from handler.model.inference import PixelsToProbabilities


def convert(checkpoint: Checkpoint) -> Graphs:
    """The graphs of a checkpoint."""
    answers = trace(PixelsToProbabilities(checkpoint).eval())
    if checkpoint.ranges is None:
        return Graphs(answers, None)
    rounded = PixelsToProbabilities(checkpoint).eval()
    normalise, rounded.normalise = rounded.normalise, nn.Identity()
    network = correct_biases(rounded.network.fold_batch_norm(), checkpoint.rounding_errors or {})
    mean, std = normalise.get_buffer("mean"), normalise.get_buffer("std")
    quantise(network, checkpoint.ranges, mean, std)
    return Graphs(answers, trace(rounded))


def export(path: Path, folder: Path, flag: FlagRates | None = None, biases: Sequence[BiasSetting] = ()) -> None:
    """Write the graphs of the checkpoint ``path``, with its metadata and measurements, into ``folder``.

    Raises:
        handler.model.checkpoint.CheckpointError: ``path`` is not a checkpoint.
    """
    checkpoint = Checkpoint.load(path)
    convert(checkpoint).save(folder, model_info(path, checkpoint, flag, biases))


def model_info(
    path: Path, checkpoint: Checkpoint, flag: FlagRates | None = None, biases: Sequence[BiasSetting] = ()
) -> ModelInfo:
    """The metadata of the checkpoint that was loaded from ``path``.

    ``flag`` and ``biases`` default to those of the graphs in the same folder, as in an unpacked archive.
    """
    digest = sha256(path)
    known_flag, known_biases = stored_measurements(path.parent, digest)
    return ModelInfo(
        sha256=digest,
        architecture=checkpoint.architecture,
        classes=list(checkpoint.classes),
        malignant_threshold=checkpoint.malignant_threshold,
        epoch=checkpoint.training.get("epoch"),
        flag=flag or known_flag,
        biases=list(biases) or known_biases,
        plausible_threshold=checkpoint.plausible_threshold,
    )


def trace(module: nn.Module) -> ov.Model:
    """The graph of a module whose inputs are ``uint8`` squares (N, 224, 224, 3)."""
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the tracing that OpenVINO uses deprecated
        example = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)
        # check_trace would trace twice and compare; the tests compare the outputs instead.
        decoder = TorchScriptPythonDecoder(module, example_input=example, trace_kwargs={"check_trace": False})
        return ov.convert_model(decoder, example_input=example, input=[-1, SIZE, SIZE, 3])
