"""Throughput and latency of classifications on Ray Serve with one and two nodes, compared with TorchServe.

    .venv/bin/python benchmarks/ray_serve.py                  a drawn example of 600 x 450 pixels

It needs wrk (`apt-get install wrk`) and the extra `ray`. All nodes share this machine's cores, so the table shows Ray's
overhead, not how it scales. Each system has a gateway in front.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests
import yaml

from benchmarks.common import print_header, print_row
from benchmarks.load import Target, as_json, wrk
from benchmarks.serving import drawn_photograph, ours
from supervisor.processes import free_port

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 300.0
CLIENTS = (1, 8, 32)
WARM_UP_SECONDS = 3


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=int, default=10, help="of load for each number of clients (default: 10)")
    arguments = p.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("ray_serve.py: wrk is not installed: apt-get install wrk")
    photo = drawn_photograph()
    systems: dict[str, Callable[[], contextlib.AbstractContextManager[Target]]] = {
        "TorchServe": lambda: ours(photo),
        "Ray Serve, 1 node": lambda: on_ray(photo, 1),
        "Ray Serve, 2 nodes": lambda: on_ray(photo, 2),
    }
    print_header("", "clients", "requests/s", "median ms", "99 %", "failed")
    for name, start in systems.items():
        with start() as target:
            wrk(target, 8, WARM_UP_SECONDS)
            for clients in CLIENTS:
                load = wrk(target, clients, arguments.seconds)
                figures = f"{load.rate:.1f}", f"{load.p50:.0f}", f"{load.p99:.0f}", str(load.failed)
                print_row(name, str(clients), *figures)


@contextlib.contextmanager
def on_ray(photo: bytes, nodes: int) -> Iterator[Target]:
    """The application on Ray Serve, with a replica of each pool on every node."""
    config = yaml.safe_load((ROOT / "deploy/ray.yaml").read_text())
    config["http_options"]["port"] = free_port()
    config["applications"][0]["args"] = {"min_replicas": nodes, "max_replicas": nodes}
    with ray_cluster(nodes) as cluster:
        yield Target(f"{cluster.deploy(config)}/predict", as_json(photo))


@dataclass(frozen=True)
class RayCluster:
    """Ray nodes on this machine, which require a token.

    Attributes:
        address: of the head, HOST:PORT.
        environment: of commands that use the cluster.
        nodes: the head first.
    """

    address: str
    environment: dict[str, str]
    nodes: list[subprocess.Popen[bytes]]

    def serve(self, *arguments: str) -> str:
        """The output of Ray's own ``serve``.

        Raises:
            RuntimeError: it failed; the message is what it printed.
        """
        done = subprocess.run(
            [_script("serve"), *arguments], cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=200
        )
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout

    def deploy(self, config: dict) -> str:
        """Deploy a configuration, and return the address of the service when it predicts.

        Raises:
            RuntimeError: it does not; the message has Ray Serve's reasons.
        """
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(config, file)
            file.flush()
            self.serve("deploy", file.name)
        url = f"http://127.0.0.1:{config['http_options']['port']}"
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{url}/readyz", timeout=20).ok:
                    return url
            status = self.serve("status")
            if "DEPLOY_FAILED" in status or time.monotonic() > deadline:
                raise RuntimeError(status)
            time.sleep(2)  # `serve` takes seconds of the same cores

    def kill_node(self, node: subprocess.Popen[bytes]) -> None:
        """Simulate a power cut: suspend all processes of a node, and then kill them."""
        family = []
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(node.pid)
            family = [parent, *parent.children(recursive=True)]
        for act in (psutil.Process.suspend, psutil.Process.kill):
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    act(process)
        node.wait()
        self.nodes.remove(node)


@contextlib.contextmanager
def ray_cluster(nodes: int, cpus: int = 2) -> Iterator[RayCluster]:
    """Start ``nodes`` Ray nodes on this machine, with ``cpus`` logical CPUs each.

    Raises:
        RuntimeError: a node does not start; the message has the end of its log.
    """
    port, dashboard = free_port(), free_port()
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "RAY_DASHBOARD_ADDRESS": f"http://127.0.0.1:{dashboard}",
    }
    made = RayCluster(f"127.0.0.1:{port}", environment, [])
    options = ["--head", f"--port={port}", f"--dashboard-port={dashboard}"]
    with tempfile.TemporaryDirectory(prefix="mlbio-ray-") as folder:
        try:
            for number in range(nodes):
                log = Path(folder, f"{number}.log")
                command = [_script("ray"), "start", *options, f"--num-cpus={cpus}", "--block"]
                command += ["--object-store-memory=80000000"]  # Ray wants at least 75 MB
                with log.open("wb") as file:
                    node = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
                made.nodes.append(node)
                deadline = time.monotonic() + START_SECONDS
                while "Ray runtime started" not in (text := log.read_text(errors="replace")):
                    if node.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(f"a Ray node did not start: {text[-3000:]}")
                    time.sleep(0.2)
                options = [f"--address={made.address}"]
            yield made
        finally:
            for node in reversed(made.nodes[:]):
                made.kill_node(node)


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


if __name__ == "__main__":
    main()
