"""Graceful shutdown: a signal is recorded, and :class:`Stopped` is raised where the program waits.

A signal handler that raises could interrupt any code, even the shutdown itself on a second signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(Exception):
    """A signal has arrived.

    Attributes:
        signal: its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = number


class StopSignal:
    """Records the first of :data:`SIGNALS` after :meth:`listen`; later ones are ignored."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._received = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def listen(self) -> None:
        """Record signals from now on."""
        for number in SIGNALS:
            signal.signal(number, self._record)

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``.

        Raises:
            Stopped: a signal has arrived, or arrives first; ``work`` has been cancelled.
        """
        self._loop = asyncio.get_running_loop()
        if self._number is not None:
            self._received.set()
        working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(self._received.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if self._number is not None:
                raise Stopped(self._number)
            return working.result()
        finally:
            for task in (working, stopping):
                task.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)

    def _record(self, number: int, frame: FrameType | None) -> None:
        if self._number is None:
            self._number = number
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed: everything has stopped
                self._loop.call_soon_threadsafe(self._received.set)
