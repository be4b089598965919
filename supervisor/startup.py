"""Startup checks: whether what was started can predict, and if not, why."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from api.headers import EXPLAIN_POOL, POOL
from gateway.backend import PROBE
from gateway.settings import Settings
from supervisor.keeper import Keeper

START_SECONDS = 240.0
PROBE_SECONDS = 10.0


class ServeError(RuntimeError):
    """The service cannot run. The message says what to do."""


async def wait_until_ready(
    settings: Settings, logs: Path, check: Callable[[], None], through_gateway: bool = True
) -> None:
    """Return when both pools have made a real prediction, the first of them through the gateway unless told otherwise.

    Args:
        settings: of the service.
        logs: folder that an error names.
        check: called again and again while there is no prediction; raises :class:`ServeError` if there will be none.

    Raises:
        ServeError: by ``check``, or it took too long.
    """
    deadline = time.monotonic() + START_SECONDS
    async with httpx.AsyncClient(base_url=settings.torchserve_url, timeout=PROBE_SECONDS, trust_env=False) as client:
        while not (
            await (is_ready(settings) if through_gateway else _predicts(client, POOL))
            and await _predicts(client, EXPLAIN_POOL)
        ):
            check()
            if time.monotonic() > deadline:
                raise ServeError(f"no prediction after {START_SECONDS:.0f} s: see {logs / 'torchserve.log'}")
            await asyncio.sleep(0.3)


async def is_ready(settings: Settings) -> bool:
    """Whether a service runs at the settings' address and can predict."""
    try:
        async with httpx.AsyncClient(timeout=PROBE_SECONDS, trust_env=False) as client:
            answer = await client.get(f"{settings.url}/readyz")
        return bool(answer.json() == {"status": "ready"})
    except (httpx.HTTPError, ValueError):  # no answer, or not in JSON
        return False


async def _predicts(client: httpx.AsyncClient, pool: str) -> bool:
    try:
        return (await client.post(f"/predictions/{pool}", content=PROBE.image)).status_code == 200
    except httpx.HTTPError:
        return False


def refuse_dead(keeper: Keeper, logs: Path) -> None:
    """Raise :class:`ServeError`, with its last lines of output, if a process has ended."""
    if keeper.process and (code := keeper.process.poll()) is not None:
        said = "".join(_read(logs / f"{keeper.name}.{kind}") for kind in ("log", "out"))
        last = said.strip().splitlines()[-5:]
        raise ServeError("\n".join([f"{keeper.name} ended with exit code {code}; its logs in {logs} end with:", *last]))


def refuse_dying_workers(logs: Path, start: int = 0) -> None:
    """Raise :class:`ServeError` if workers die at start: TorchServe retries for minutes and calls itself healthy.

    The first ``start`` bytes of the log are of an earlier start.
    """
    text = _read(logs / "torchserve.log", start)
    if text.count("Backend worker process died") >= 2:
        reasons = [reason for line in text.splitlines() if (reason := _reason(line))]
        raise ServeError(f"the model cannot be loaded: {reasons[-1] if reasons else 'see the log'}\nsee {logs}")


def _reason(line: str) -> str | None:
    """The exception in a line of TorchServe's log: the handler's lines are JSON, earlier ones are not."""
    said = line.partition("MODEL_LOG - ")[2]
    if said.startswith("{"):
        with contextlib.suppress(ValueError):
            said = str(json.loads(said).get("trace", "")).rpartition("\n")[2]
    return said if re.match(r"\w+(?:\.\w+)*(?:Error|Exception): ", said) else None


def _read(log: Path, start: int = 0) -> str:
    try:
        return log.read_bytes()[start:].decode(errors="replace")
    except FileNotFoundError:
        return ""


def refuse_taken_port(url: str, variable: str) -> None:
    """Raise :class:`ServeError` if ``url``, which the environment variable ``variable`` sets, cannot be listened at."""
    parts = urlsplit(url)
    family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.hostname, parts.port))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no such port"
            raise ServeError(
                f"{parts.netloc} cannot be used ({reason}): stop what listens there, or choose another with {variable}"
            ) from None
