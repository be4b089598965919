"""The number of threads for a container's CPU limit; by default, OpenVINO starts one per core of the machine.

The limit (Docker's ``--cpus``, ``limits.cpu`` in Kubernetes) is a quota of CPU time per period. Too many threads
exhaust it early and are throttled for the rest of the period.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

THREADS_VARIABLE = "MLBIO_THREADS"
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def thread_limit(groups: Path = CGROUPS, own_groups: Path = OWN_CGROUPS) -> int | None:
    """The environment's ``MLBIO_THREADS``, or the CPU quota of the control group, rounded up.

    None without a quota, or if it is not lower than the number of cores.

    Raises:
        ValueError: ``MLBIO_THREADS`` is not a whole number above 0.
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
    """CPU quotas, in cores, of this process's control groups (versions 1 and 2) and of their ancestors."""
    try:
        lines = own_groups.read_text().splitlines()
    except OSError:  # not Linux, or hidden
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = groups / "cpu" if controllers else groups
        # In a container, the path may be relative to the host's hierarchy, although only the root is mounted.
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
