"""Delete from the installed packages what a container never opens: tests and C headers.

With ``--no-gpu`` also the code for GPUs, except libraries that torch cannot be imported without.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

NEVER_IMPORTED = ("**/tests", "**/include")
ONLY_WITH_A_GPU = (
    "triton",  # torch.compile's kernels
    "torch/lib/libtorch_cuda_linalg.so",  # loaded by the first torch.linalg call on a GPU
    "openvino/libs/libopenvino_intel_[gn]pu_plugin.so",  # Intel's GPUs and NPUs
)


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    packages = Path(sysconfig.get_path("purelib"))
    found = [path for pattern in NEVER_IMPORTED for path in packages.glob(pattern)]
    if "--no-gpu" in arguments:
        found += [path for pattern in ONLY_WITH_A_GPU for path in packages.glob(pattern)]
        needed = linked([*packages.glob("torch/_C.*.so"), *packages.glob("torchvision/*.so")])
        found += [path for path in packages.glob("nvidia/**/*") if path.is_file() and path.resolve() not in needed]
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return 0


def linked(libraries: list[Path]) -> set[Path]:
    """Every file that the dynamic loader opens for ``libraries``.

    Raises:
        subprocess.CalledProcessError: one of them is no shared library.
    """

    def paths() -> Iterator[Path]:
        printed = subprocess.run(["ldd", *map(str, libraries)], capture_output=True, text=True, check=True).stdout
        for line in printed.splitlines():  # "libcudart.so.13 => /usr/…/libcudart.so.13 (0x00007f…)"
            if " => /" in line:
                yield Path(line.split(" => ")[1].rsplit(" (", 1)[0]).resolve()

    return set(paths()) if libraries else set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
