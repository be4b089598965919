"""Throughput and latency of the service, compared with other servers of the same weights, in one run.

    .venv/bin/python benchmarks/serving.py                  a drawn example of 600 x 450 pixels
    .venv/bin/python benchmarks/serving.py --photo PHOTO

The others are FastAPI, LitServe and BentoML (the latter two in batches of eight) and TorchServe's `image_classifier`,
all in float32 with torch. Decoding and the inference engine alone give an upper bound.

It needs wrk (`apt-get install wrk`), and installs the Python packages into build/peers.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from benchmarks.common import CHECKPOINT, ROOT, median_seconds, print_header, print_row, running_service
from benchmarks.load import Load, Target, as_json, wrk
from benchmarks.peers.servers import SERVERS, install_packages

CLIENTS = (1, 8, 64)


def main() -> None:
    """Print the tables."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--photo", type=Path, help="photograph to send (default: a drawn example of 600 x 450 pixels)")
    p.add_argument("--seconds", type=int, default=10, help="of load for each number of clients (default: %(default)s)")
    arguments = p.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("serving.py: wrk is not installed: apt-get install wrk")
    install_packages()
    photo = arguments.photo.read_bytes() if arguments.photo else drawn_photograph()
    bound, milliseconds = print_bound(photo)
    print_header("", "clients", "requests/s", "median ms", "95 %", "99 %", "failed")
    loads: dict[str, list[Load]] = {}
    for name, start in {"ours": ours, **SERVERS}.items():
        with start(photo) as target:
            wrk(target, clients=2, seconds=3)  # warm-up
            for clients in CLIENTS:
                load = wrk(target, clients, arguments.seconds)
                loads.setdefault(name, []).append(load)
                percentiles = (f"{value:,.0f}" for value in (load.p50, load.p95, load.p99))
                print_row(name, str(clients), f"{load.rate:.1f}", *percentiles, str(load.failed))
    rates = {name: max(load.rate for load in runs) for name, runs in loads.items()}
    our_rate = rates.pop("ours")
    print(f"\nours / best peer: {our_rate / max(rates.values()):.1f} (highest requests/s of each)")
    print(f"ours / bound: {our_rate / bound:.2f} (requests/s)")
    print(f"one client: median {loads['ours'][0].p50:.0f} ms, decoding and engine alone: {milliseconds:.0f} ms")


@contextmanager
def ours(photo: bytes) -> Iterator[Target]:
    """The whole service, as ``make serve`` starts it."""
    with running_service() as service:
        yield Target(f"{service.url}/predict", as_json(photo))


def print_bound(photo: bytes) -> tuple[float, float]:
    """Upper bound by decoding and engine alone: requests/s on all cores, and milliseconds per photograph."""
    from handler.model.images import read_square
    from handler.predictor import Predictor

    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(ROOT / "model_store" / "mlbio.mar").extractall(folder)
        classifier = Predictor.from_graphs(Path(folder), Path(folder) / CHECKPOINT.name).classifier
        decode = median_seconds(lambda: read_square(photo), 50)
        one = read_square(photo)[None]
        eight = one.repeat(8, axis=0)
        single = median_seconds(lambda: classifier.assess(one), 30)
        batch = median_seconds(lambda: classifier.assess(eight), 30)
    engine = min(single, batch / 8)
    rate = 1 / (engine + decode / cores)
    print(
        f"decoding {1000 * decode:.1f} ms of one core; engine ({classifier.arithmetic}, {cores} cores) "
        f"{1 / engine:.0f} images/s, one image {1000 * single:.1f} ms; together at most {rate:.0f} requests/s"
    )
    return rate, 1000 * (decode + single)


def drawn_photograph() -> bytes:
    """A drawn example as a JPEG of 600 x 450 pixels, the size of HAM10000's photographs."""
    buffer = io.BytesIO()
    with Image.open(ROOT / "examples" / "drawn_nevus.jpg") as drawn:
        drawn.resize((600, 450), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
