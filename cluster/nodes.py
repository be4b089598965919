"""Nodes on this machine's loopback interface, each a process that is started and ended on its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.loopback import ADDRESS, new_token
from supervisor.processes import free_port

START_SECONDS = 60.0
STORE_BYTES = 80_000_000
"""A node's object store; Ray wants at least 75 MB."""

# A dead node is noticed after 3 s rather than 20.
QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


class NodeError(RuntimeError):
    """A node did not start. The message has its last words."""


@dataclass(frozen=True)
class Node:
    """A running node."""

    process: subprocess.Popen[bytes]

    def family(self) -> list[psutil.Process]:
        """All of its processes, replicas among them."""
        with contextlib.suppress(psutil.NoSuchProcess):
            node = psutil.Process(self.process.pid)
            return [node, *node.children(recursive=True)]
        return []

    def kill(self) -> None:
        """End it as a power cut does: all processes at once, none of which can say anything."""
        family = self.family()
        for process in family:  # so that none can act on the end of another
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        for process in {*family, *self.family()}:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(family, timeout=10)


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        address: of the head, HOST:PORT.
        environment: what a process needs to be let in.
        nodes: the head first.
    """

    address: str
    environment: dict[str, str]
    nodes: list[Node]


def start(folder: Path, environment: dict[str, str], *options: str) -> Node:
    """A node started by :mod:`cluster.loopback` with these options more; its output goes into ``folder``."""
    command = [sys.executable, "-m", "cluster.loopback", *options, "--block"]
    command += [f"--object-store-memory={STORE_BYTES}"]
    with (folder / f"node-{free_port()}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | QUICK | environment, stdout=log, stderr=log, start_new_session=True
        )
    return Node(process)


@contextlib.contextmanager
def cluster(nodes: int, cpus: int = 2) -> Iterator[Cluster]:
    """A cluster of so many nodes with so many of Ray's logical CPUs each; it ends with the block.

    Raises:
        NodeError: they do not start.
    """
    made = Cluster(f"{ADDRESS}:{free_port()}", new_token(), [])
    port = made.address.rpartition(":")[2]
    with tempfile.TemporaryDirectory(prefix="mlbio-ray-") as name:
        folder = Path(name)
        cores = f"--num-cpus={cpus}"
        head = ["--head", f"--port={port}", f"--temp-dir={folder / 'ray'}"]
        try:
            made.nodes.append(start(folder, made.environment, cores, *head))
            # The others wait for the head.
            for _ in range(nodes - 1):
                made.nodes.append(start(folder, made.environment, cores, f"--address={made.address}"))
            _wait(made.nodes, folder)
            yield made
        finally:
            for node in reversed(made.nodes):
                node.kill()


def _wait(nodes: list[Node], folder: Path) -> None:
    """Return when all have said that they run."""
    until = time.monotonic() + START_SECONDS
    while True:
        logs = [log.read_text(errors="replace") for log in folder.glob("node-*.log")]
        if sum("Ray runtime started" in log for log in logs) >= len(nodes):
            return
        if time.monotonic() > until or any(node.process.poll() is not None for node in nodes):
            raise NodeError("\n".join(log[-1500:] for log in logs))
        time.sleep(0.2)
