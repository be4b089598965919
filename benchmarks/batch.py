"""Throughput of scale/main_batch.py compared with the engine alone, and of two machines compared with one.

    python benchmarks/batch.py ../shared/ham10000/HAM10000_images_test [--images 1000]

The two machines are simulated by Ray nodes with one core each, so this needs two idle cores. Rates are measured between
the first and the last file written, and so exclude start and end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from api.photograph import EXTENSIONS
from benchmarks.common import CHECKPOINT, ROOT
from benchmarks.ray_serve import ray_cluster

BATCH = 32
ENGINE_SECONDS = 8.0
SHARD = 50


def main() -> None:
    """Print the rates."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path, help="photographs")
    p.add_argument("--images", type=int, default=1000, help="photographs to classify (default: %(default)s)")
    arguments = p.parse_args()
    files = sorted(f for f in arguments.folder.iterdir() if f.suffix.lower().lstrip(".") in EXTENSIONS)
    files = files[: arguments.images]
    cores = os.cpu_count() or 1
    engine = engine_rate(files[: 4 * BATCH])
    with tempfile.TemporaryDirectory(prefix="mlbio-batch-") as folder:
        listing = Path(folder, "photographs.txt")
        listing.write_text("".join(f"{f.resolve()}\n" for f in files))
        rates = {"engine alone": engine, f"main_batch.py, {cores} cores": batch_rate(listing, Path(folder, "local"))}
        for nodes in (1, 2):
            with ray_cluster(nodes, cpus=1) as cluster:
                options = ["--address", cluster.address, "--cores", "1"]
                rate = batch_rate(listing, Path(folder, f"nodes{nodes}"), *options, environment=cluster.environment)
                rates[f"main_batch.py, {nodes} node{'s' * (nodes > 1)} of 1 core"] = rate
    print(f"{len(files)} photographs, {cores} cores")
    names = list(rates)
    for name, rate, reference in zip(names, rates.values(), (None, names[0], None, names[2]), strict=True):
        ratio = f"   {rate / rates[reference]:.2f} x {reference}" if reference else ""
        print(f"{name:33}{rate:8.1f} images/s{ratio}")


def engine_rate(files: list[Path]) -> float:
    """Images per second of the network alone, on all cores, in the batches of :mod:`scale.batch`."""
    from handler.model.images import read_square
    from handler.predictor import Predictor

    predictor = Predictor.from_checkpoint(CHECKPOINT)
    squares = np.stack([read_square(f.read_bytes()) for f in files])[:BATCH]
    predictor.classifier.assess(squares)
    started, count = time.monotonic(), 0
    while time.monotonic() - started < ENGINE_SECONDS:
        predictor.classifier.assess(squares)
        count += len(squares)
    return count / (time.monotonic() - started)


def batch_rate(listing: Path, output: Path, *options: str, environment: dict[str, str] | None = None) -> float:
    """Images per second of a run, from the first file written to the last."""
    command = [
        sys.executable,
        ROOT / "scale/main_batch.py",
        listing,
        "--output",
        output,
        "--shard",
        str(SHARD),
        *options,
    ]
    subprocess.run([str(c) for c in command], check=True, capture_output=True, env=environment)
    written = sorted(p.stat().st_mtime for p in output.glob("part-*.parquet"))
    return SHARD * (len(written) - 1) / (written[-1] - written[0])


if __name__ == "__main__":
    main()
