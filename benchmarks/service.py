"""Start-up time, memory and latency of the whole service, alone and while it explains, on photographs.

.venv/bin/python benchmarks/service.py                    on the drawn examples
.venv/bin/python benchmarks/service.py PHOTO …            on other photographs
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import psutil

from api.client import Client
from api.request import PRECISIONS
from supervisor.processes import free_port

ROOT = Path(__file__).resolve().parent.parent
CLASSIFICATIONS = 300
SETTLE_SECONDS = 2.0
"""Until the explanation that has just been asked for runs."""

WORKER, SERVER = "model_service_worker", "org.pytorch.serve"


def main() -> None:
    """Print the tables."""
    p = argparse.ArgumentParser(description="Start-up time, memory and latency of the whole service.")
    p.add_argument("photo", nargs="*", type=Path, default=sorted((ROOT / "examples").glob("drawn_*.jpg")))
    photos = p.parse_args().photo
    with running_service() as (url, seconds, process), Client(url) as client:
        print(f"a prediction works {seconds:.1f} s after the start\n")
        print_memory(process)
        client.predict(photos[0])
        print_latencies(url, client, photos)
        print("\n| precision | median s | largest s | median samples | reached |\n" + "| --- " * 5 + "|")
        for precision in PRECISIONS:
            print(explanation_row(client, photos, precision), flush=True)


@contextmanager
def running_service() -> Iterator[tuple[str, float, psutil.Process]]:
    """The service on free ports: its address, the seconds until a prediction worked, and its process."""
    port = free_port()
    addresses = {"MLBIO_PORT": str(port), "MLBIO_TORCHSERVE_URL": f"http://127.0.0.1:{free_port()}"}
    with tempfile.TemporaryDirectory() as logs:
        started = time.monotonic()
        command = [sys.executable, "-m", "supervisor", "--logs", logs]
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | addresses, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            if not any("a prediction works" in line for line in process.stdout):
                raise SystemExit("the service did not start")
            yield f"http://127.0.0.1:{port}", time.monotonic() - started, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


def print_memory(process: psutil.Process) -> None:
    """Memory of TorchServe and its workers, in MB: resident, with shared pages divided, and unshared."""
    print("| process | resident MB | proportional MB | unshared MB |\n" + "| --- " * 4 + "|")
    for child in process.children(recursive=True):
        command = " ".join(child.cmdline())
        name = "worker" if WORKER in command else "TorchServe" if SERVER in command else None
        if name:
            memory = child.memory_full_info()
            print(f"| {name} | {memory.rss / 1e6:.0f} | {memory.pss / 1e6:.0f} | {memory.uss / 1e6:.0f} |")


def print_latencies(url: str, client: Client, photos: list[Path]) -> None:
    """Milliseconds of a classification for one client: nothing else runs, or explanations run back to back."""

    def percentiles() -> tuple[float, float]:
        times = sorted(timed(client, photos[i % len(photos)]) for i in range(CLASSIFICATIONS))
        return 1000 * statistics.median(times), 1000 * statistics.quantiles(times, n=100)[98]

    alone = percentiles()
    with explaining(url, photos):
        beside = percentiles()
    print("\n| classification, ms | median | 99 % |\n" + "| --- " * 3 + "|")
    print(
        f"| alone | {alone[0]:.0f} | {alone[1]:.0f} |\n| while explanations run | {beside[0]:.0f} | {beside[1]:.0f} |"
    )
    print(f"| ratio | {beside[0] / alone[0]:.2f} | {beside[1] / alone[1]:.2f} |")


@contextmanager
def explaining(url: str, photos: list[Path]) -> Iterator[None]:
    """Explanations back to back, by a client of their own."""
    enough = Event()

    def explain() -> None:
        with Client(url) as client:
            while not enough.is_set():
                client.predict(photos[0], explain=True, precision="Importante")

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(explain)
        time.sleep(SETTLE_SECONDS)
        try:
            yield
        finally:
            enough.set()
        work.result()


def timed(client: Client, photo: Path) -> float:
    """Seconds of a classification."""
    started = time.perf_counter()
    client.predict(photo)
    return time.perf_counter() - started


def explanation_row(client: Client, photos: list[Path], precision: str) -> str:
    """Explain every photograph; returns a row of the table."""
    seconds, samples, reached = [], [], 0
    for photo in photos:
        started = time.perf_counter()
        details = client.predict(photo, explain=True, precision=precision).details
        seconds.append(time.perf_counter() - started)
        assert details and details.explanation
        samples.append(details.explanation.samples)
        reached += bool(details.explanation.reached)
    return (
        f"| {precision} | {statistics.median(seconds):.2f} | {max(seconds):.2f} | {statistics.median(samples):.0f} "
        f"| {reached} of {len(photos)} |"
    )


if __name__ == "__main__":
    main()
