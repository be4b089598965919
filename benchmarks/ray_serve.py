"""Requests per second and latency of classifications on Ray Serve with one node and two, beside plain TorchServe.

.venv/bin/python benchmarks/ray_serve.py                  a drawn example of 600 x 450 pixels

It needs wrk (`apt-get install wrk`) and the extra `ray`. All nodes are on this machine and share its cores: more nodes
cannot make it faster here, and the table shows what Ray costs. Each has a gateway in front.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.serving import Target, as_json, drawn_photograph, ours, wrk
from cluster.nodes import cluster
from supervisor.processes import free_port

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = (1, 8, 32)
WARM_UP_SECONDS = 3


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description="Requests per second and latency with one and two nodes of Ray Serve.")
    p.add_argument("--seconds", type=int, default=10, help="of load for each number of clients (default: 10)")
    arguments = p.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("ray_serve.py: wrk is not installed: apt-get install wrk")
    photo = drawn_photograph()
    contestants: dict[str, Callable[[], contextlib.AbstractContextManager[Target]]] = {
        "TorchServe": lambda: ours(photo),
        "Ray Serve, 1 node": lambda: on_ray(photo, 1),
        "Ray Serve, 2 nodes": lambda: on_ray(photo, 2),
    }
    print("| | clients | requests/s | p50 ms | p99 ms | failed |\n" + "| --- " * 6 + "|", flush=True)
    for name, start in contestants.items():
        with start() as target:
            wrk(target, 8, WARM_UP_SECONDS)
            for clients in CLIENTS:
                load = wrk(target, clients, arguments.seconds)
                figures = f"{load.rate:.1f} | {load.p50:.0f} | {load.p99:.0f} | {load.failed}"
                print(f"| {name} | {clients} | {figures} |", flush=True)


@contextlib.contextmanager
def on_ray(photo: bytes, nodes: int) -> Iterator[Target]:
    """The gateway in front of Ray Serve, with a replica of each pool on every node."""
    port = free_port()
    with cluster(nodes) as made:
        command = [sys.executable, "deploy/ray_serve.py", "--address", made.address, "--port", str(port)]
        command += ["--min-replicas", str(nodes), "--max-replicas", str(nodes)]
        environment = os.environ | made.environment | {"MLBIO_LOG_FILE": os.devnull}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            if not any("a prediction works" in line for line in process.stdout):
                raise SystemExit("ray_serve.py: the service did not start")
            yield Target(f"http://127.0.0.1:{port}/predict", as_json(photo))
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
