"""Run a command that gets a signal when its parent exits: ``exit_with_parent.py PARENT SIGNAL COMMAND …``.

A parent that is killed (SIGKILL, the out-of-memory killer) cannot stop its children. On Linux, prctl(2) requests a
signal for this case, and the request survives exec(2). On other systems, the command keeps running.

This script is run by its path, and imports only the standard library in order to start within milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def exits_with_parent(command: list[str], number: signal.Signals) -> list[str]:
    """Wrap ``command``, so that it gets signal ``number`` when this process exits. Start it from the main thread."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(os.getpid()), str(number.value), *command]


def main(parent: int, number: int, command: list[str]) -> None:
    """Replace this process with ``command``."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # it exited before the request
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
