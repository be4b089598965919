"""How many cores this process may use, where that is fewer than it sees: OpenVINO counts the machine's.

A container's limit (Docker's ``--cpus``, ``limits.cpu`` in Kubernetes) is time in each period, not a choice of cores:
with a thread for each core of the machine, all of them stand still for most of every period.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

THREADS_VARIABLE = "MLBIO_THREADS"
GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def thread_limit(groups: Path = GROUPS, own_groups: Path = OWN_GROUPS) -> int | None:
    """The environment's ``MLBIO_THREADS``, or as many threads as the control group's time suffices for.

    None without a limit, or where it is no lower than the number of cores.

    Raises:
        ValueError: the variable is no whole number above 0.
    """
    word = os.environ.get(THREADS_VARIABLE, "")
    if word:
        if not word.isascii() or not word.isdecimal() or int(word) == 0:
            raise ValueError(f"{THREADS_VARIABLE} is {word!r}: it must be a whole number above 0")
        return int(word)
    limits = list(_quotas(groups, own_groups))
    if not limits or (least := math.ceil(min(limits))) >= len(os.sched_getaffinity(0)):
        return None
    return max(1, least)


def _quotas(groups: Path, own_groups: Path) -> Iterator[float]:
    """Cores' worth of time that this process's control groups have, and those above them (versions 1 and 2)."""
    try:
        lines = own_groups.read_text().splitlines()
    except OSError:  # not Linux, or hidden
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = groups / "cpu" if controllers else groups
        # In a container the path may be the host's, of which only the top is to be seen here.
        own = PurePosixPath(path.lstrip("/"))
        for group in (top / part for part in (own, *own.parents)):
            try:
                if controllers:
                    quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
                else:
                    quota, period = (group / "cpu.max").read_text().split()
                if quota.strip() not in ("max", "-1"):
                    yield int(quota) / int(period)
            except (OSError, ValueError):
                continue
