"""A process that is restarted when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from supervisor.processes import STOP_SECONDS, ended, stop

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a process is restarted; the pause doubles while it keeps ending soon."""

STEADY_SECONDS = 60.0
"""A process that ran for so long is restarted after the first pause."""


class Keeper:
    """Starts a process, restarts it when it ends, and stops it.

    Args:
        name: for messages.
        start: starts it.
        stop_seconds: that it gets to end after SIGTERM.
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
        """Restart the process whenever it ends, in the background."""
        self._task = asyncio.create_task(self.keep())

    async def unwatch(self) -> None:
        """No longer restart it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def keep(self) -> NoReturn:
        """Restart the process whenever it has ended, after stopping what remains of its group."""
        pause = FIRST_PAUSE
        while True:
            started = time.monotonic()
            if self.process is not None:
                code = await ended(self.process)
                await stop(self.process)
                self.process = None  # its id may soon be that of another process
                say(f"{self.name} ended with exit code {code}: starting it again")
            pause = FIRST_PAUSE if time.monotonic() - started > STEADY_SECONDS else min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(pause)
            try:
                self.process = self._start()
            except OSError as error:  # no memory, a full disk
                say(f"{self.name} cannot be started: {error}")

    async def stop(self) -> None:
        """Stop the process and everything in its group."""
        await self.unwatch()
        if self.process is not None:
            await stop(self.process, self._stop_seconds)


def say(text: str) -> None:
    """Print a message; a terminal that is gone or a full disk is no reason to stop."""
    try:
        print(text, flush=True)
    except OSError:
        with contextlib.suppress(OSError):  # otherwise Python tries again when it exits, and fails
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
