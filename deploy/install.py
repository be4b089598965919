"""Install pinned packages into .venv and tell, in one line, how far it is. What stands in the way is a line, too.

    python3.11 deploy/install.py requirements.txt [--editable]

Run by `make setup` in the repository's root, before any package is there: it uses only the standard library.

PyPI's torch for Linux requires CUDA's libraries, 5 GB. Where there is no NVIDIA GPU, torch is installed first and
slimmed (deploy/slim.py), so that pip leaves them out. CUDA=1 in the environment installs them all the same, and CUDA=0
never does.
"""

from __future__ import annotations

import argparse
import os
import platform
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

VENV = Path(".venv")
PYTHON = str(VENV / "bin/python")
LOG = VENV / "pip.log"

TORCH = ("torch", "torchvision")
VENV_BYTES, DOWNLOAD_BYTES = 2_500_000_000, 1_000_000_000
"""Needed until torch is there: by .venv, and by the temporary folder into which pip downloads."""
CUDA_VENV_BYTES, CUDA_DOWNLOAD_BYTES = 7_000_000_000, 3_000_000_000
"""Likewise, with CUDA's libraries."""

NVIDIA_DRIVER = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")  # the last one in WSL

REFRESH_SECONDS, PLAIN_SECONDS = 0.5, 30.0
"""How often the line moves in a terminal, and how often there is another one elsewhere."""

PIP_DEFAULTS = {"PIP_DEFAULT_TIMEOUT": "60", "PIP_RETRIES": "5"}
"""CUDA packages of torch are large, and connections may be slow."""

NO_CONNECTION = re.compile(
    r"Retrying \(Retry\(|NewConnectionError|ConnectTimeout|ReadTimeout|Read timed out|Connection broken|"
    r"Max retries exceeded|Temporary failure in name resolution|ProxyError|SSLError"
)


class InstallError(Exception):
    """Nothing can be installed. The message says what to change."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    p = argparse.ArgumentParser(description="Install pinned packages into .venv.")
    p.add_argument("requirements", type=Path, help="a file of pinned packages")
    p.add_argument("--editable", action="store_true", help="install the project of this folder, too")
    arguments = p.parse_args(argv)
    try:
        refuse_full_disk()
        make_venv()
        with LOG.open("w") as log:
            install(arguments.requirements, log)
            if arguments.editable:
                run_pip(["--no-deps", "--no-build-isolation", "--editable", "."], Progress(set()), log)
    except InstallError as error:
        print(f"setup: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; the same command goes on", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"setup: error: {error.filename or 'this folder'}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def refuse_full_disk() -> None:
    """Raise :class:`InstallError` unless .venv and pip's downloads have room."""
    if in_venv("torch-*.dist-info"):
        return
    needed: dict[int, tuple[Path, int]] = {}
    cuda = wants_cuda() and platform.system() == "Linux"
    venv, download = (CUDA_VENV_BYTES, CUDA_DOWNLOAD_BYTES) if cuda else (VENV_BYTES, DOWNLOAD_BYTES)
    for folder, size in ((Path.cwd(), venv), (Path(tempfile.gettempdir()), download)):
        first, others = needed.get(folder.stat().st_dev, (folder, 0))
        needed[folder.stat().st_dev] = first, others + size
    for folder, size in needed.values():
        free = shutil.disk_usage(folder).free
        if free < size:
            raise InstallError(
                f"{folder} has {free / 1e9:.1f} GB left and the packages need {size / 1e9:g} GB there: make room, or "
                + ("work in a folder of a larger disk" if folder == Path.cwd() else "set TMPDIR to a larger disk")
            )


def make_venv() -> None:
    """Create .venv with the Python that runs this, unless there is one.

    Raises:
        InstallError: this Python cannot.
    """
    if (VENV / "bin/python").exists():
        return
    made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False)
    if made.returncode:
        shutil.rmtree(VENV, ignore_errors=True)  # half of one would pass for one
        said = made.stdout + made.stderr
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        if "ensurepip" in said:
            raise InstallError(
                f"this Python cannot make .venv: `apt-get install python{version}-venv`, or name another with PYTHON=…"
            )
        raise InstallError(f".venv cannot be made: {last_line(said)}")


def wants_cuda() -> bool:
    """Whether torch needs its libraries of CUDA, or is one that has none."""
    told = os.environ.get("CUDA")
    if told in ("0", "1"):
        return told == "1"
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return True
    return any(Path(file).exists() for file in NVIDIA_DRIVER) or shutil.which("nvidia-smi") is not None


def in_venv(pattern: str) -> list[Path]:
    """What matches ``pattern`` among the packages of .venv."""
    return list(VENV.glob(f"lib/python*/site-packages/{pattern}"))


def install(requirements: Path, log: IO[str]) -> None:
    """Install a file of pinned packages; errors as :func:`run_pip`."""
    versions = pinned(requirements)
    progress = Progress(set(versions))
    everything = ["--requirement", str(requirements)]
    slim = "torch" in versions and not wants_cuda() and not in_venv("nvidia")
    if slim and not slimmed(versions["torch"]):
        remove_torch()
        run_pip(["--no-deps", "--constraint", str(requirements), *TORCH], progress, log)
        subprocess.run([PYTHON, "deploy/slim.py", "--no-gpu"], stdout=log, stderr=log, check=False)
    run_pip(everything, progress, log)
    if slim and subprocess.run([PYTHON, "-c", f"import {', '.join(TORCH)}"], stderr=log, check=False).returncode:
        log.write("torch cannot be imported without CUDA's libraries here: it is installed again, with them\n")
        remove_torch()
        run_pip(everything, progress, log)
    progress.end()


def slimmed(version: str) -> bool:
    """Whether .venv has this torch, and it no longer requires CUDA's libraries: the last thing that slim.py does."""
    return any(
        "Requires-Dist: nvidia" not in path.read_text() for path in in_venv(f"torch-{version}*.dist-info/METADATA")
    )


def remove_torch() -> None:
    """Take torch out of .venv, with what pip does not know of."""
    for folder in in_venv("torch") + in_venv("torch-*.dist-info"):
        shutil.rmtree(folder)


def pinned(requirements: Path) -> dict[str, str]:
    """Versions of the packages that a file pins, with those of the files that it includes, by normalised name."""
    versions: dict[str, str] = {}
    for line in requirements.read_text().splitlines():
        if line.startswith("-r "):
            versions |= pinned(requirements.parent / line.removeprefix("-r ").strip())
        elif "==" in line and not line.startswith("#"):
            name, _, version = line.partition("==")
            versions[normalised(name)] = version.strip()
    return versions


def run_pip(options: list[str], progress: Progress, log: IO[str]) -> None:
    """``pip install`` with ``options``; what it prints goes to ``log``, and to ``progress``.

    Raises:
        InstallError: it failed.
    """
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    process = subprocess.Popen(
        [*pip, *options],
        env=PIP_DEFAULTS | dict(os.environ) | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    said: list[str] = []
    try:
        line: str | None = ""
        while line is not None:
            try:
                line = lines.get(timeout=REFRESH_SECONDS)
                if line is not None:
                    said.append(line)
                    log.write(line)
                    progress.note(line)
            except queue.Empty:
                pass
            progress.show()
        code = process.wait()
    finally:
        progress.clear()
        if process.poll() is None:
            process.terminate()
            process.wait()
    if code:
        raise InstallError(reason("".join(said)))


def _read(output: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in output:
        lines.put(line)
    lines.put(None)


class Progress:
    """One line that says how far pip is: it moves in a terminal, and is printed now and then elsewhere.

    Args:
        pinned: normalised names of the packages to install.
    """

    def __init__(self, pinned: set[str]) -> None:
        self._pinned = pinned
        self._looked_up: set[str] = set()
        self._fetched: set[str] = set()
        self._bytes = 0.0
        self._now = ""
        self._installing = 0
        self._before = 0
        self._installed = 0
        self._trouble = False
        self._started = time.monotonic()
        self._printed: float | None = None
        self._moves = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    def note(self, line: str) -> None:
        """Learn from a line of pip's output."""
        if NO_CONNECTION.search(line):
            self._trouble = True
            return
        if match := re.match(r"Collecting ([\w.-]+)", line):
            self._looked_up.add(normalised(match[1]))
        elif match := re.match(r"Requirement already satisfied: ([\w.-]+)", line):
            self._looked_up.add(normalised(match[1]))
            self._fetched.add(normalised(match[1]))
        elif match := re.match(
            r"\s*(Downloading|Using cached|Processing) (?:\S*/)?([^/\s-]+)-([^-]+)-\S*whl(?: |$)", line
        ):
            self._fetched.add(normalised(match[2]))
            size = re.search(r"\(([\d.]+) ([kMG]?B)\)", line) if match[1] == "Downloading" else None
            self._now = f"{match[2]} {match[3]}{f' ({size[1]} {size[2]})' if size else ''}"
            self._bytes += float(size[1]) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[size[2]] if size else 0
        elif line.startswith("Installing collected packages: "):
            self._installing = line.count(",") + 1
            self._before = self._count()
        elif line.startswith("Successfully installed "):
            self._installed += self._installing
            self._installing = 0
        self._trouble = False

    def text(self) -> str:
        """The line, without the time."""
        total = len(self._pinned)
        if self._trouble:
            return "no connection to the package index, trying again"
        if self._installing:
            return f"installing: {min(self._count() - self._before, self._installing)} of {self._installing} packages"
        if fetched := self._fetched & self._pinned:
            so_far = f", {self._bytes / 1e9:.1f} GB" if self._bytes > 5e7 else ""
            return f"downloading: {len(fetched)} of {total} packages{so_far}, {self._now}"
        return f"looking up: {len(self._looked_up & self._pinned)} of {total} packages"

    def show(self) -> None:
        """Print the line, if it is time."""
        if not self._pinned:
            return
        now = time.monotonic()
        if self._moves:
            line = f"{self.text()}, {duration(now - self._started)}"
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{line[:width]:{width}}", end="", flush=True)
        elif self._printed is None or now - self._printed > PLAIN_SECONDS:
            print(self.text(), flush=True)
        else:
            return
        self._printed = now

    def clear(self) -> None:
        """Leave an empty line for what comes."""
        if self._moves and self._printed is not None:
            print(f"\r{'':{shutil.get_terminal_size().columns - 1}}\r", end="", flush=True)

    def end(self) -> None:
        """Say what was done."""
        if self._installed:
            print(f"installed {self._installed} packages in {duration(time.monotonic() - self._started)}", flush=True)

    def _count(self) -> int:
        return len(list(VENV.glob("lib/python*/site-packages/*.dist-info")))


def reason(said: str) -> str:
    """Why pip failed, from all that it printed, with what to change."""
    if "No space left on device" in said:
        return (
            f"the disk is full (.venv's, or that of {tempfile.gettempdir()}): make room, then the same command goes on"
        )
    if NO_CONNECTION.search(said):
        return (
            "the package index cannot be reached: check the network, the proxy or `pip config list`, then the same "
            "command goes on"
        )
    if match := re.search(r"No matching distribution found for (\S+)", said):
        return (
            f"the package index has no {match[1]} for Python {sys.version.split()[0]} on this machine: use Python 3.11 "
            "(make clean, then PYTHON=…)"
        )
    return f"{last_line(said)} (all that pip said is in {LOG})"


def last_line(said: str) -> str:
    """The last line that is an error, or else the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["no reason was given"]
    return next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])


def normalised(name: str) -> str:
    """A package's name as an index compares it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def duration(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


if __name__ == "__main__":
    sys.exit(main())
