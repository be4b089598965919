"""Many photographs: ``deploy/batch.py`` beside the engine alone, and two machines beside one.

    python benchmarks/batch.py ../shared/ham10000/HAM10000_images_test [--images 1000]

The two machines are Ray nodes with one core each on this one, so it needs two cores that do nothing else. Rates are
those between the first and the last file that is written, without start and end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from api.photograph import EXTENSIONS
from gateway.processes import free_port
from handler.images import read_square
from handler.predictor import Predictor

ROOT = Path(__file__).resolve().parent.parent
RAY = Path(sys.executable).with_name("ray")
BATCH = 32
ENGINE_SECONDS = 8.0
SHARD = 50


def main() -> None:
    p = argparse.ArgumentParser(description="Throughput of deploy/batch.py beside that of the engine.")
    p.add_argument("folder", type=Path, help="photographs")
    p.add_argument("--images", type=int, default=1000, help="photographs to classify (default: %(default)s)")
    arguments = p.parse_args()
    files = sorted(f for f in arguments.folder.iterdir() if f.suffix.lower().lstrip(".") in EXTENSIONS)
    files = files[: arguments.images]
    cores = os.cpu_count() or 1
    engine = engine_rate(files[: 4 * BATCH])
    with tempfile.TemporaryDirectory(prefix="mlbio-b-") as folder:
        listing = Path(folder, "photographs.txt")
        listing.write_text("".join(f"{f.resolve()}\n" for f in files))
        rates = {"engine alone": engine, f"batch.py, {cores} cores": batch_rate(listing, Path(folder, "local"))}
        for nodes in (1, 2):
            with cluster(nodes, Path(folder, f"ray{nodes}")) as address:
                rates[f"batch.py, {nodes} node{'s' * (nodes > 1)} of 1 core"] = batch_rate(
                    listing, Path(folder, f"nodes{nodes}"), "--address", address, "--cores", "1"
                )
    print(f"{len(files)} photographs, {cores} cores")
    names = list(rates)
    for name, rate, reference in zip(names, rates.values(), (None, names[0], None, names[2]), strict=True):
        ratio = f"   {rate / rates[reference]:.2f} x {reference}" if reference else ""
        print(f"{name:28}{rate:8.1f} images/s{ratio}")


def engine_rate(files: list[Path]) -> float:
    """Images a second of the network by itself, on all cores, in the batches of :mod:`bulk.worker`."""
    predictor = Predictor.from_checkpoint(ROOT / "model_store/model_mlbio.pth")
    squares = np.stack([read_square(f.read_bytes()) for f in files])[:BATCH]
    predictor.classifier.assess(squares)
    started, count = time.monotonic(), 0
    while time.monotonic() - started < ENGINE_SECONDS:
        predictor.classifier.assess(squares)
        count += len(squares)
    return count / (time.monotonic() - started)


def batch_rate(listing: Path, output: Path, *options: str) -> float:
    """Images a second of a run, from the first file that it writes to the last."""
    command = [sys.executable, ROOT / "deploy/batch.py", listing, "--output", output, "--shard", str(SHARD), *options]
    subprocess.run([str(c) for c in command], check=True, capture_output=True)
    written = sorted(p.stat().st_mtime for p in output.glob("part-*.parquet"))
    return SHARD * (len(written) - 1) / (written[-1] - written[0])


@contextlib.contextmanager
def cluster(nodes: int, folder: Path) -> Iterator[str]:
    """A Ray cluster of separate processes on the loopback interface, with one core a node; yields its address."""
    address = f"127.0.0.1:{free_port()}"
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    common = ["--num-cpus=1", "--object-store-memory=100000000", "--node-ip-address=127.0.0.1", "--block"]
    head = ["--head", f"--port={address.rpartition(':')[2]}", "--include-dashboard=false", f"--temp-dir={folder}"]
    processes = []
    try:
        for number in range(nodes):
            kind = head if number == 0 else [f"--address={address}"]
            command = [str(RAY), "start", *kind, *common]
            processes.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            time.sleep(8)
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(30)


if __name__ == "__main__":
    main()
