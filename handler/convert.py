"""From a checkpoint to OpenVINO graphs. Only this module needs torch and OpenVINO together."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from handler.checkpoint import Checkpoint
from handler.graphs import Graphs, ModelFacts, ov, sha256
from handler.images import SIZE
from handler.network import PixelsToProbabilities
from handler.quantise import fold_batch_norm, quantise


def convert(checkpoint: Checkpoint) -> Graphs:
    """The graphs of a checkpoint."""
    answers = _trace(PixelsToProbabilities(checkpoint).eval())
    if checkpoint.ranges is None:
        return Graphs(answers, None)
    rounded = PixelsToProbabilities(checkpoint).eval()
    quantise(fold_batch_norm(rounded.network), checkpoint.ranges)
    return Graphs(answers, _trace(rounded))


def export(path: Path, folder: Path) -> None:
    """Write the graphs of the checkpoint ``path`` into ``folder``.

    Raises:
        handler.checkpoint.CheckpointError: ``path`` is not a checkpoint.
    """
    checkpoint = Checkpoint.load(path)
    convert(checkpoint).save(folder, facts(path, checkpoint))


def facts(path: Path, checkpoint: Checkpoint) -> ModelFacts:
    """What serving needs to know of the checkpoint that was loaded from ``path``."""
    return ModelFacts(
        sha256=sha256(path),
        classes=list(checkpoint.classes),
        malignant_threshold=checkpoint.malignant_threshold,
        epoch=checkpoint.training.get("epoch"),
    )


def _trace(module: nn.Module) -> ov.Model:
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the tracing that OpenVINO uses deprecated
        example = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)
        return ov.convert_model(module, example_input=example, input=[-1, SIZE, SIZE, 3])
