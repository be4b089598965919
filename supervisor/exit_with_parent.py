"""Run a command that ends when its parent does: ``exit_with_parent.py PARENT SIGNAL COMMAND …``.

A parent that is killed (SIGKILL, the out-of-memory killer) cannot stop its children. Linux does so for processes that
request it with prctl(2), and the request survives exec(2), so the command need not know about it. On other systems it
is not stopped.

It imports the standard library alone, as it is run by its path, and starts in a few milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def exits_with_parent(command: list[str], number: signal.Signals) -> list[str]:
    """``command``, to be started by this process's main thread; it gets signal ``number`` when this process ends."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(os.getpid()), str(number.value), *command]


def main(parent: int, number: int, command: list[str]) -> None:
    """Become ``command``."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the request
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
