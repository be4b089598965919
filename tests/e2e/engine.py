"""A private Docker Engine for a test: its own data, socket and base image; nothing of it remains.

No image registry is needed. ``python:3.11-slim``, the base of deploy/Dockerfile, is made from Debian's packages by
debootstrap (Debian 12 has Python 3.11) and kept in the user's cache folder.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlbio"
BASE_IMAGE = "python:3.11-slim"
SUITE = "bookworm"
PROGRAMS = ("dockerd", "docker", "docker-compose", "debootstrap")
PROJECT = "mlbio-test"

# Without a limit, programs that close every possible file descriptor take minutes to start.
DOCKERD_OPTIONS = ("--default-ulimit", "nofile=1024:1024")


@dataclass(frozen=True)
class Engine:
    """A running Docker Engine.

    Attributes:
        environment: for ``docker`` and ``docker-compose``.
    """

    environment: dict[str, str]

    def docker(self, *arguments: str, timeout: float = 120) -> str:
        """Output of ``docker``.

        Raises:
            AssertionError: it failed; the message is what it printed.
        """
        return self._run("docker", *arguments, timeout=timeout)

    def compose(self, *arguments: str, timeout: float = 300) -> str:
        """Output of ``docker-compose`` with this repository's docker-compose.yml; errors as :meth:`docker`."""
        return self._run("docker-compose", "-p", PROJECT, *arguments, timeout=timeout)

    def container(self, service: str) -> str:
        """The id of a service's container."""
        return self.compose("ps", "-q", service).strip()

    def inspect(self, name: str) -> dict:
        """What Docker knows of an image or a container."""
        return json.loads(self.docker("inspect", name))[0]

    def health(self, service: str) -> str:
        """``starting``, ``healthy`` or ``unhealthy``; ``absent`` before the container is created."""
        container = self.container(service)
        return self.inspect(container)["State"]["Health"]["Status"] if container else "absent"

    def wait_until_healthy(self, *services: str, seconds: float = 300) -> None:
        """Wait until all are healthy; fail with their logs and last health checks if they are not in time."""
        deadline = time.monotonic() + seconds
        while True:
            states = {service: self.health(service) for service in services}
            if set(states.values()) == {"healthy"}:
                return
            if time.monotonic() > deadline:
                checks = [self.inspect(c)["State"] for s in services if (c := self.container(s))]
                pytest.fail(f"after {seconds} s: {states}\n{checks}\n{self.compose('logs', '--tail', '40')}")
            time.sleep(0.5)

    def _run(self, *command: str, timeout: float) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout


def obstacle() -> str | None:
    """Why no engine can run here; None if one can."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        return "a private Docker Engine needs root on Linux"
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"a private Docker Engine needs {', '.join(missing)}"
    if Path("/var/run/docker.sock").exists():
        return "another Docker Engine runs on this machine; two would share its network bridge"
    return None


@contextmanager
def running_engine(environment: dict[str, str]) -> Iterator[Engine]:
    """A Docker Engine that has :data:`BASE_IMAGE`; ``environment`` is added for docker-compose."""
    base = base_image()
    with tempfile.TemporaryDirectory(prefix="mlbio-engine-") as folder:
        socket = Path(folder) / "docker.sock"
        log = Path(folder) / "dockerd.log"
        command = [
            *("dockerd", *DOCKERD_OPTIONS, "--host", f"unix://{socket}", "--pidfile", f"{folder}/pid"),
            *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
        ]
        with log.open("w") as output:
            daemon = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            wait_for_socket(daemon, socket, log)
            builder = {"DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0"}  # Debian's packages have no BuildKit
            engine = Engine(os.environ | {"DOCKER_HOST": f"unix://{socket}"} | builder | environment)
            engine.docker("import", str(base), BASE_IMAGE)
            yield engine
        finally:
            daemon.terminate()
            try:
                daemon.wait(timeout=60)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def wait_for_socket(daemon: subprocess.Popen, socket: Path, log: Path, seconds: float = 60) -> None:
    """Wait until dockerd answers; skip the test with its last log lines where it cannot run on this machine."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and daemon.poll() is None:
        asked = subprocess.run(["docker", "-H", f"unix://{socket}", "info"], capture_output=True, check=False)
        if asked.returncode == 0:
            return
        time.sleep(0.2)
    reason = f"no Docker Engine can run here: {log.read_text()[-500:]}"
    pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


def base_image() -> Path:
    """A tar of Debian with Python and pip, with this machine's certificates and pip configuration; made once."""
    cached = CACHE / f"{SUITE}-python.tar"
    if cached.exists():
        return cached
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mlbio-base-") as folder:
        root = Path(folder) / "root"
        packages = "--include=python3,python3-pip,ca-certificates"
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", packages, SUITE, str(root)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
        (root / "usr/bin/python").symlink_to("python3")
        next(root.glob("usr/lib/python3*/EXTERNALLY-MANAGED")).unlink()
        for file in ("etc/pip.conf", "etc/ssl/certs/ca-certificates.crt"):
            if Path("/", file).exists():
                shutil.copy(Path("/", file), root / file)
        shutil.rmtree(root / "var/cache/apt")
        shutil.rmtree(root / "var/lib/apt/lists")
        partial = Path(folder) / "base.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(partial), "."], check=True)
        shutil.move(partial, cached)
    return cached
