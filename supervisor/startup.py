"""Startup checks: configuration and ports before the start, and readiness afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import os
import re
import socket
import time
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from api.archive import ARCHIVE, checksum_file
from api.headers import EXPLAIN_POOL, POOL
from gateway.backend import PROBE
from gateway.keys import KeysError, load_keys
from gateway.settings import Settings
from gateway.torchserve import torchserve_addresses
from supervisor.processes import Watchdog, print_message

START_SECONDS = 240.0
PROBE_SECONDS = 10.0
POLL_SECONDS = 0.3
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServeError(RuntimeError):
    """The service cannot run. The message says what to do."""


def check_configuration(settings: Settings, model_store: Path) -> None:
    """Check archive, settings and ports, and warn about settings that are valid but rarely intended.

    Raises:
        ServeError: the archive is missing, a setting is invalid, or a port is in use.
    """
    archive = model_store / ARCHIVE
    if not archive.is_file():
        raise ServeError(f"{archive} is missing: make it with `make archive`")
    require_loopback(settings)
    require_free_port(settings.url, "MLBIO_PORT")
    for url in torchserve_addresses(settings).values():
        require_free_port(url, "MLBIO_TORCHSERVE_URL")
    try:
        load_keys(settings)
    except KeysError as error:
        raise ServeError(str(error)) from None
    if not checksum_file(archive).exists():
        if not zipfile.is_zipfile(archive):  # TorchServe would restart its workers for minutes
            raise ServeError(f"{archive} is damaged, or no model archive: make it with `make archive`")
        print_message(f"warning: {archive} has no checksum next to it (`make archive` writes one): not verified")
    if settings.host not in LOOPBACK and not settings.api_keys_file:
        print_message(f"warning: whoever reaches {settings.url} can use the service: set MLBIO_API_KEYS_FILE")


def require_loopback(settings: Settings) -> None:
    """Raise :class:`ServeError` if other machines could reach TorchServe, which has no access control."""
    host = urlsplit(settings.torchserve_url).hostname or ""
    try:
        local = ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except (OSError, ValueError):
        local = False
    if not local:
        raise ServeError(
            "MLBIO_TORCHSERVE_URL has to be an address of this machine's loopback, such as http://127.0.0.1:8080: only "
            "the gateway may be reached from elsewhere (MLBIO_HOST)"
        )


def require_free_port(url: str, variable: str) -> None:
    """Raise :class:`ServeError` if no server can listen at ``url``, which the environment ``variable`` sets."""
    parts = urlsplit(url)
    family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.hostname, parts.port))
        except (OSError, ValueError) as error:
            if isinstance(error, socket.gaierror) or getattr(error, "errno", 0) == errno.EADDRNOTAVAIL:
                name = variable.replace("_PORT", "_HOST")
                raise ServeError(f"{parts.hostname} is not an address of this machine: change {name}") from None
            reason = error.strerror if isinstance(error, OSError) else "no such port"
            raise ServeError(
                f"{parts.netloc} cannot be used ({reason}): stop what listens there, or choose another with {variable}"
            ) from None


async def wait_until(
    ready: Callable[[], Awaitable[bool]], check: Callable[[], None], log: Path, seconds: float = START_SECONDS
) -> None:
    """Wait until ``ready()`` returns True.

    Args:
        ready: polled; a call takes seconds if workers die.
        check: called regularly meanwhile; raises :class:`ServeError` if the start has failed.
        log: file for the message of a timeout.
        seconds: time limit.

    Raises:
        ServeError: ``check`` raised it, or the time limit was exceeded.
    """

    async def poll() -> None:
        while not await ready():
            await asyncio.sleep(POLL_SECONDS)

    deadline = time.monotonic() + seconds
    polling = asyncio.create_task(poll())
    try:
        while not polling.done():
            check()
            if time.monotonic() > deadline:
                raise ServeError(f"no answer after {seconds:.0f} s: see {log}")
            await asyncio.wait({polling}, timeout=POLL_SECONDS)
        polling.result()
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


async def is_ready(settings: Settings) -> bool:
    """Whether a service runs at the settings' address and can predict."""
    try:
        async with httpx.AsyncClient(timeout=PROBE_SECONDS, trust_env=False) as client:
            answer = await client.get(f"{settings.url}/readyz")
        return bool(answer.json() == {"status": "ready"})
    except (httpx.HTTPError, ValueError):  # no answer, or not in JSON
        return False


async def pools_predict(torchserve_url: str) -> bool:
    """Whether both of TorchServe's pools make a real prediction."""
    try:
        async with httpx.AsyncClient(base_url=torchserve_url, timeout=PROBE_SECONDS, trust_env=False) as client:
            for pool in (POOL, EXPLAIN_POOL):
                if (await client.post(f"/predictions/{pool}", content=PROBE.image)).status_code != 200:
                    return False
        return True
    except httpx.HTTPError:
        return False


async def page_is_ready(settings: Settings) -> bool:
    """Whether the page answers."""
    try:
        async with httpx.AsyncClient(timeout=PROBE_SECONDS, trust_env=False) as client:
            return (await client.get(f"http://127.0.0.1:{settings.page_port}/_stcore/health")).text == "ok"
    except httpx.HTTPError:
        return False


def raise_if_ended(watchdog: Watchdog, logs: Path) -> None:
    """Raise :class:`ServeError`, with the last lines of its output, if a process has exited."""
    if watchdog.process and (code := watchdog.process.poll()) is not None:
        output = "".join(_read(logs / f"{watchdog.name}.{kind}") for kind in ("log", "out"))
        last = output.strip().splitlines()[-5:]
        if "UnsupportedClassVersionError" in output:
            last = [f"its Java is too old: unset the environment variable JAVA_HOME ({os.environ.get('JAVA_HOME')})"]
        raise ServeError(
            "\n".join([f"{watchdog.name} ended with exit code {code}; its logs in {logs} end with:", *last])
        )


def raise_if_workers_die(logs: Path) -> None:
    """Raise :class:`ServeError` if workers die at start: TorchServe retries for minutes and calls itself healthy."""
    text = _read(logs / "torchserve.log")
    if text.count("Backend worker process died") >= 2:
        reasons = [reason for line in text.splitlines() if (reason := _reason(line))]
        raise ServeError(f"the model cannot be loaded: {reasons[-1] if reasons else 'see the log'}\nsee {logs}")


def _reason(line: str) -> str | None:
    """The exception in a line of TorchServe's log, in JSON or (before the handler is loaded) in plain text."""
    text = line.partition("MODEL_LOG - ")[2]
    if text.startswith("{"):
        with contextlib.suppress(ValueError):
            text = str(json.loads(text).get("trace", "")).rpartition("\n")[2]
    return text if re.match(r"\w+(?:\.\w+)*(?:Error|Exception): ", text) else None


def _read(log: Path) -> str:
    try:
        return log.read_text(errors="replace")
    except FileNotFoundError:
        return ""
