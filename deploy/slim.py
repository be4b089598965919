"""Delete from the installed packages what nothing here opens.

    python deploy/slim.py [--container] [--no-gpu]

``--container`` deletes what a container never opens: tests, C headers, readers of other programs' models. ``--no-gpu``
deletes the code for GPUs, CUDA's libraries among it (x86-64 alone). A build of torch that is linked to them cannot be
imported without them, so empty libraries (:func:`elf.empty_library`) take their place: torch asks one of them how many
GPUs there are, is told that there is no device, and never calls another.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import elf

NOT_IN_A_CONTAINER = (
    "**/tests",
    "**/include",
    "torch/bin/protoc*",
    *(
        f"openvino/libs/libopenvino_{name}_frontend.so*"
        for name in ("onnx", "tensorflow", "tensorflow_lite", "paddle", "gguf")
    ),
)
ONLY_WITH_A_GPU = (
    "nvidia",
    "nvidia_*.dist-info",
    "triton",  # torch.compile's kernels
    "triton-*.dist-info",
    "torch/lib/libtorch_cuda*.so",
    "torch/lib/libtorch_nvshmem.so",
    "torch/lib/libcaffe2_nvrtc.so",  # opened by the first kernel that is compiled
    "openvino/libs/libopenvino_intel_[gn]pu_plugin.so",  # Intel's GPUs and NPUs
)
LINKED_TO_CUDA = ("torch/lib/*.so*", "torch/_C*.so", "torchvision/_C*.so")
GPU_REQUIREMENT = re.compile(r"^Requires-Dist: (nvidia|cuda|triton)[^\n]*\n", re.MULTILINE)


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    packages = Path(sysconfig.get_path("purelib"))
    no_gpu = "--no-gpu" in arguments and platform.machine() == "x86_64"
    patterns = (NOT_IN_A_CONTAINER if "--container" in arguments else ()) + (ONLY_WITH_A_GPU if no_gpu else ())
    for path in [path for pattern in patterns for path in packages.glob(pattern)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if no_gpu:
        fill_in(packages)
        for path in packages.glob("torch/lib/*.so"):
            elf.strip(path)
        for module in packages.glob("torch/backends/cuda/__init__.py"):  # so that torch registers nothing for CUDA
            module.write_text(module.read_text().replace("return torch._C._has_cuda\n", "return False\n"))
        for metadata in packages.glob("torch-*.dist-info/METADATA"):  # so that pip does not bring them again
            metadata.write_text(GPU_REQUIREMENT.sub("", metadata.read_text()))
    return 0


def fill_in(packages: Path) -> list[Path]:
    """Write an empty library for each that torch is linked to and that is not there; returns them.

    Raises:
        subprocess.CalledProcessError: ldd cannot read one of torch's libraries.
    """
    folder = packages / "torch/lib"
    libraries = [path for pattern in LINKED_TO_CUDA for path in packages.glob(pattern)]
    if not libraries:
        return []
    there, missing = linked([*libraries, Path(sys.executable)])
    # torchvision's do not say where torch's are, which are loaded before them.
    missing -= {path.name for path in libraries}
    if not missing:
        return []
    read = {path: elf.read(path) for path in {path.resolve() for path in libraries} | there}
    defined = set().union(*(library.defined for library in read.values()))
    wanted = {
        symbol: version
        for path in libraries
        for symbol, version in read[path.resolve()].undefined.items()
        if symbol not in defined
    }
    # A symbol without a version may be anybody's.
    free: list[tuple[str, str | None]] = [(symbol, None) for symbol, version in wanted.items() if version is None]
    made = []
    for number, name in enumerate(sorted(missing)):
        bound: list[tuple[str, str | None]] = [
            (symbol, version[1]) for symbol, version in wanted.items() if version and version[0] == name
        ]
        made.append(folder / name)
        made[-1].write_bytes(elf.empty_library(name, bound if number else bound + free))
    return made


def linked(libraries: list[Path]) -> tuple[set[Path], set[str]]:
    """The files that the dynamic loader opens for ``libraries``, and the names of those that it does not find."""
    there, missing = set(libraries), set()
    printed = subprocess.run(["ldd", *map(str, libraries)], capture_output=True, text=True, check=True).stdout
    for line in printed.splitlines():  # "libcudart.so.13 => /usr/…/libcudart.so.13 (0x00007f…)", "… => not found"
        name, arrow, file = line.strip().partition(" => ")
        if arrow and file == "not found":
            missing.add(name)
        elif arrow or name.startswith("/lib"):  # the loader itself has no arrow
            there.add(Path((file or name).rsplit(" (", 1)[0]).resolve())
    return {path.resolve() for path in there}, missing


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
