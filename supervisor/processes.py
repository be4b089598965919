"""Child processes: started in their own process groups, restarted when they exit, and stopped with their children."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
STOP_SECONDS = 20.0
"""Seconds between SIGTERM and SIGKILL."""

POLL_SECONDS = 0.1

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a restart: exponential backoff while the process keeps exiting early."""

STEADY_SECONDS = 60.0
"""A process that ran at least this long is restarted after the first pause."""

PORTS = (20_000, 32_000)
"""Range from which free ports are chosen."""


def start(command: list[str], environment: dict[str, str], folder: Path, output: Path) -> subprocess.Popen[bytes]:
    """Start a process in ``folder``, in its own group, out of reach of Ctrl-C. Its output is appended to ``output``."""
    with output.open("ab") as file:  # appended, to keep the last lines before a restart
        return subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


async def wait_for_exit(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; returns its exit code."""
    while (code := process.poll()) is None:
        await asyncio.sleep(POLL_SECONDS)
    return code


async def stop(process: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> None:
    """Stop a process and everything in its group: SIGTERM, and SIGKILL after ``seconds``."""
    await stop_group(process.pid, seconds, process.poll)


async def stop_group(group: int, seconds: float = STOP_SECONDS, reap: Callable[[], object] = lambda: None) -> None:
    """Stop a process group. ``reap`` is polled meanwhile, to reap a group leader that is a child of this process."""
    for number, timeout in ((signal.SIGTERM, seconds), (signal.SIGKILL, STOP_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            reap()
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            await asyncio.sleep(POLL_SECONDS)


class Watchdog:
    """Starts a process, restarts it when it exits, and stops it.

    Args:
        name: for messages.
        start: starts the process.
        stop_seconds: between SIGTERM and SIGKILL.
    """

    def __init__(
        self, name: str, start: Callable[[], subprocess.Popen[bytes]], stop_seconds: float = STOP_SECONDS
    ) -> None:
        self.name = name
        self._start = start
        self._stop_seconds = stop_seconds
        self.process: subprocess.Popen[bytes] | None = start()
        self._task: asyncio.Task[NoReturn] | None = None

    def watch(self) -> None:
        """Restart the process whenever it exits, in the background."""
        self._task = asyncio.create_task(self._restart_when_ended())

    async def unwatch(self) -> None:
        """Stop restarting the process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def stop(self) -> None:
        """Stop the process and everything in its group."""
        await self.unwatch()
        if self.process is not None:
            await stop(self.process, self._stop_seconds)

    async def _restart_when_ended(self) -> NoReturn:
        pause = FIRST_PAUSE
        while True:
            started = time.monotonic()
            if self.process is not None:
                code = await wait_for_exit(self.process)
                await stop(self.process)  # what remains of its group
                self.process = None  # its id may be reused
                print_message(f"{self.name} ended with exit code {code}: starting it again")
            pause = FIRST_PAUSE if time.monotonic() - started > STEADY_SECONDS else min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(pause)
            try:
                self.process = self._start()
            except OSError as error:  # no memory, a full disk
                print_message(f"{self.name} cannot be started: {error}")


def print_message(text: str) -> None:
    """Print to stdout, and ignore errors such as a closed terminal or a full disk."""
    try:
        print(text, flush=True)
    except OSError:
        with contextlib.suppress(OSError):  # otherwise Python tries again when it exits, and fails
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def free_ports_in_a_row(count: int) -> int:
    """The first of ``count`` consecutive free ports, as TorchServe needs.

    They are below the ephemeral ports, so that no outgoing connection takes one meanwhile.
    """
    while True:
        first = random.SystemRandom().randrange(*PORTS)
        try:
            with contextlib.ExitStack() as stack:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
        except OSError:
            continue


def free_port() -> int:
    """A free port of the loopback interface."""
    return free_ports_in_a_row(1)
