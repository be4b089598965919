"""OpenVINO graphs of a trained model: ``make archive`` packs them, and a worker on a CPU loads them without torch."""

from __future__ import annotations

import functools
import hashlib
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

# Without this, OpenVINO sends telemetry over the network.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov

from handler.engines.cores import thread_limit
from handler.model.calibration import BiasSetting, FlagRates

INDEX = "graphs.json"

Arithmetic = Literal["float32", "bfloat16"]
_TYPES = {"float32": ov.Type.f32, "bfloat16": ov.Type.bf16}


class GraphsError(ValueError):
    """The graphs of an archive are missing or belong to another checkpoint. The message says why."""


class ModelInfo(msgspec.Struct, frozen=True):
    """A checkpoint's metadata, as far as serving needs it.

    Attributes:
        sha256: of the checkpoint's file.
        classes: ``dx`` codes in the order of the outputs.
        malignant_threshold: see :class:`handler.model.checkpoint.Checkpoint`.
        epoch: the epoch that was kept.
        flag: None where the model has no score card.
        biases: the trade-off curve of the bias of rare classes; empty where the score card has none.
        plausible_threshold: see :class:`handler.model.checkpoint.Checkpoint`.
        architecture: of the network; older archives do not name it.
    """

    sha256: str
    classes: list[str]
    malignant_threshold: float | None
    epoch: int | None
    flag: FlagRates | None = None
    biases: list[BiasSetting] = []
    plausible_threshold: float | None = None
    architecture: str = "unknown"

    @property
    def version(self) -> str:
        """The first 12 digits of ``sha256``."""
        return self.sha256[:12]


@functools.cache
def core() -> ov.Core:
    """OpenVINO's core, one for the process and never released.

    The CPU plugin sets an alternate signal stack (sigaltstack) for the thread that first uses it, and unmaps it when
    the plugin is unloaded, in whichever thread that happens: the next signal would then end the process with SIGSEGV.
    """
    return ov.Core()


def compile_graph(graph: ov.Model, arithmetic: Arithmetic, threads: int | None = None) -> ov.CompiledModel:
    """Compile a graph for low latency on the CPU.

    Args:
        graph: its quantised operations use 8-bit integers in any case.
        arithmetic: of all other operations; float32 is used if the CPU does not support bfloat16.
        threads: CPU threads (default: :func:`handler.engines.cores.thread_limit`).
    """
    hint = ov.properties.hint
    config: dict[str, Any] = {
        hint.performance_mode: hint.PerformanceMode.LATENCY,
        hint.inference_precision: _TYPES[arithmetic],
    }
    if threads := threads or thread_limit():
        config[ov.properties.inference_num_threads] = threads
        # Pinning would put the threads of every process on the machine's first cores.
        config[hint.enable_cpu_pinning] = False
    return core().compile_model(graph, "CPU", config)


class _Index(msgspec.Struct, frozen=True):
    model: ModelInfo
    sha256: dict[str, str]  # by file name


@dataclass(frozen=True)
class Graphs:
    """Two graphs from pixels, ``uint8`` (N, 224, 224, 3), to probabilities (N, classes) and novelty scores (N,).

    Attributes:
        answers: in floating point.
        samples: in 8-bit integers, for LIME's perturbations; None for a checkpoint without ranges.
    """

    answers: ov.Model
    samples: ov.Model | None

    def save(self, folder: Path, model: ModelInfo) -> None:
        """Write the graphs, and an index with checksums, into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, graph in vars(self).items():
            if graph is not None:
                ov.save_model(graph, folder / f"{name}.xml", compress_to_fp16=False)
        files = sorted([*folder.glob("*.xml"), *folder.glob("*.bin")])
        index = _Index(model, {file.name: sha256(file) for file in files})
        (folder / INDEX).write_bytes(msgspec.json.format(msgspec.json.encode(index)))

    @classmethod
    def load(cls, folder: Path, checkpoint: Path) -> tuple[Graphs, ModelInfo]:
        """Read what :meth:`save` wrote, and check that it is complete and belongs to the file ``checkpoint``.

        Raises:
            GraphsError: it is not.
        """
        try:
            index = msgspec.json.decode((folder / INDEX).read_bytes(), type=_Index)
            for name, digest in index.sha256.items():
                if sha256(folder / name) != digest:
                    raise GraphsError(f"{folder / name} is damaged: make the archive again")
            if sha256(checkpoint) != index.model.sha256:
                raise GraphsError(f"{folder} was made from another checkpoint than {checkpoint.name}")
        except (OSError, msgspec.MsgspecError) as error:
            raise GraphsError(f"{folder} does not hold the graphs of a model ({error})") from None
        graphs = {
            name: core().read_model(folder / f"{name}.xml") if f"{name}.xml" in index.sha256 else None
            for name in ("answers", "samples")
        }
        return cls(**graphs), index.model


def stored_measurements(folder: Path, digest: str) -> tuple[FlagRates | None, list[BiasSetting]]:
    """Flag rates and trade-off curve in ``folder``, if its graphs are those of the checkpoint with this SHA-256."""
    try:
        index = msgspec.json.decode((folder / INDEX).read_bytes(), type=_Index)
    except (OSError, msgspec.MsgspecError):
        return None, []
    return (index.model.flag, index.model.biases) if index.model.sha256 == digest else (None, [])


def packed_version(archive: Path) -> str:
    """The model version in an archive ``mlbio.mar``.

    Raises:
        GraphsError: ``archive`` is not such an archive.
    """
    try:
        with zipfile.ZipFile(archive) as files:
            return msgspec.json.decode(files.read(INDEX), type=_Index).model.version
    except (OSError, zipfile.BadZipFile, KeyError, msgspec.MsgspecError) as error:
        raise GraphsError(f"{archive} is not an archive that `make archive` made ({error})") from None


def sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
