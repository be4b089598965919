"""Pack the trained model, ``handler/`` and ``api/`` into ``model_store/mlbio.mar`` for TorchServe.

The archive has the checkpoint, for GPUs, and its OpenVINO graphs, for CPUs.

    python train/archive.py

The output of torch-model-archiver is rewritten with fixed timestamps and sorted files, which makes it reproducible. Its
checksum goes into ``mlbio.mar.sha256``, which the service verifies.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import msgspec

from api.archive import ARCHIVE, PROMOTED, checksum_file
from api.arguments import UsageError, ensure_writable
from api.files import write_atomically
from evaluate.score_card import ScoreCard
from handler.engines.graphs import sha256
from handler.model.calibration import BiasSetting, FlagRates

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("handler", "api")
SCORE_CARD = Path("score_card/score_card.json")
"""Relative to the folder of the checkpoint."""

FLAG_RULE = "malignant threshold"
"""Name of the score card's operating point at the model's malignant threshold."""

ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""Timestamp of every file: the earliest one that zip supports."""


class PackError(RuntimeError):
    """The archive could not be made. The message says why."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    p = argparse.ArgumentParser(description="Pack the trained model and the handler into a TorchServe archive.")
    p.add_argument("--modelname", type=Path, default=ROOT / "model_store/model_mlbio.pth", help="checkpoint to pack")
    p.add_argument("--output", type=Path, default=ROOT / "model_store" / ARCHIVE, help="archive to write")
    arguments = p.parse_args(argv)
    # Imported after parsing, because torch takes seconds.
    from handler.model.checkpoint import CheckpointError

    try:
        ensure_writable(arguments.output, "--output")
        build(arguments.modelname, arguments.output)
        if arguments.output.name == ARCHIVE:
            (arguments.output.parent / PROMOTED).unlink(missing_ok=True)
    except (CheckpointError, PackError, UsageError, OSError) as error:
        print(f"archive.py: error: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.output} ({arguments.output.stat().st_size / 1e6:.1f} MB)")
    return 0


def build(checkpoint: Path, output: Path) -> None:
    """Write ``output`` atomically, and its checksum next to it.

    Raises:
        handler.model.checkpoint.CheckpointError: ``checkpoint`` cannot be served.
        PackError: torch-model-archiver failed.
    """
    from handler.engines.convert import export

    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        staged, packed = Path(folder, "staged"), Path(folder, "packed")
        packed.mkdir()
        card = score_card_of(checkpoint)
        export(checkpoint, staged, *flag_and_biases(card))  # refuses a broken checkpoint, which would crash a worker
        if card:
            shutil.copy(checkpoint.parent / SCORE_CARD, staged)
        # The archiver copies the contents of a folder, not the folder itself.
        for package in PACKAGES:
            shutil.copytree(
                ROOT / package, staged / package, ignore=shutil.ignore_patterns("__pycache__", "service.py")
            )
        finished = subprocess.run(
            [sys.executable, "-c", "from model_archiver.model_packaging import generate_model_archive as g; g()"]
            + ["--model-name", output.stem, "--version", "1.0", "--serialized-file", str(checkpoint)]
            + ["--handler", str(ROOT / "handler/service.py"), "--extra-files", str(staged)]
            + ["--export-path", str(packed), "--archive-format", "zip-store"],
            env={"TMPDIR": folder, "PATH": ""},  # the archiver deletes <temporary folder>/<model name>: give it its own
            capture_output=True,
            text=True,
            check=False,
        )
        made = packed / f"{output.stem}.mar"
        if finished.returncode or not made.is_file():
            raise PackError(f"torch-model-archiver failed:\n{finished.stderr.strip()}")
        checksum = checksum_file(output)
        with write_atomically(output) as partial:
            make_reproducible(made, partial)
            text = f"{sha256(partial)}  {output.name}\n"
            # An archive without a checksum is served with a warning; one with a wrong checksum is refused.
            checksum.unlink(missing_ok=True)
        checksum.write_text(text)


def score_card_of(checkpoint: Path) -> ScoreCard | None:
    """The score card next to the checkpoint, if it belongs to this model.

    Raises:
        PackError: the card cannot be read.
    """
    path = checkpoint.parent / SCORE_CARD
    try:
        card = msgspec.json.decode(path.read_bytes(), type=ScoreCard)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise PackError(f"{path} is not a score card ({error}): make it again with make evaluate") from None
    if card.model is None or not checkpoint.is_file() or not sha256(checkpoint).startswith(card.model.sha256):
        return None
    return card


def packed_card(archive: Path) -> ScoreCard | None:
    """The score card in an archive; None if there is no card or no archive."""
    try:
        with zipfile.ZipFile(archive) as files:
            return msgspec.json.decode(files.read(SCORE_CARD.name), type=ScoreCard)
    except (OSError, zipfile.BadZipFile, KeyError, msgspec.MsgspecError):
        return None


def flag_and_biases(card: ScoreCard | None) -> tuple[FlagRates | None, list[BiasSetting]]:
    """The malignant flag's rates and the trade-off curve in a score card, if any."""
    if card is None:
        return None, []
    flags = [
        flag_rates(p.sensitivity.value, p.specificity.value)
        for p in card.malignant.operating_points
        if p.rule == FLAG_RULE
    ]
    curve = card.trade_off.points if card.trade_off else []
    biases = [
        msgspec.structs.replace(
            point.setting,
            flag=point.evaluated
            and flag_rates(point.evaluated.flag_sensitivity.value, point.evaluated.flag_specificity.value),
        )
        for point in curve
    ]
    return next(iter(flags), None), biases


def flag_rates(sensitivity: float | None, specificity: float | None) -> FlagRates | None:
    """Rates of the malignant flag; None if either is not defined."""
    if sensitivity is None or specificity is None:
        return None
    return FlagRates(sensitivity, round(1 - specificity, 6))


def make_reproducible(source: Path, target: Path) -> None:
    """Copy the archive ``source`` with sorted files and fixed timestamps, including the one in its manifest."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted(old.namelist()):
            content = old.read(name)
            if name == "MAR-INF/MANIFEST.json":
                manifest = json.loads(content)
                manifest["createdOn"] = "01/01/1980 00:00:00"
                content = json.dumps(manifest, indent=2, sort_keys=True).encode()
            entry = zipfile.ZipInfo(name, ZIP_TIME)
            # Weights hardly compress, and workers unpack them at every start.
            entry.compress_type = zipfile.ZIP_STORED if name.endswith((".bin", ".pth")) else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            new.writestr(entry, content)


if __name__ == "__main__":
    sys.exit(main())
