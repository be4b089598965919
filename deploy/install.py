"""Install pinned packages into .venv and tell, in one line, how far it is. What stands in the way is a line, too.

    python3.11 deploy/install.py requirements.txt [--editable]

Run by `make setup` in the repository's root, before any package is there: it uses only the standard library.
"""

from __future__ import annotations

import argparse
import os
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
LOG = VENV / "pip.log"

HEAVY = "torch"
VENV_BYTES, DOWNLOAD_BYTES = 7_000_000_000, 3_000_000_000
"""Needed until :data:`HEAVY` is there: by .venv, and by the temporary folder into which pip downloads."""

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
    if any(VENV.glob(f"lib/python*/site-packages/{HEAVY}-*.dist-info")):
        return
    needed: dict[int, tuple[Path, int]] = {}
    for folder, size in ((Path.cwd(), VENV_BYTES), (Path(tempfile.gettempdir()), DOWNLOAD_BYTES)):
        first, others = needed.get(folder.stat().st_dev, (folder, 0))
        needed[folder.stat().st_dev] = first, others + size
    for folder, size in needed.values():
        free = shutil.disk_usage(folder).free
        if free < size:
            raise InstallError(
                f"{folder} has {free / 1e9:.1f} GB left and the packages need {size / 1e9:.0f} GB there: make room, or "
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


def install(requirements: Path, log: IO[str]) -> None:
    """Install a file of pinned packages; errors as :func:`run_pip`."""
    progress = Progress(pinned(requirements))
    run_pip(["--requirement", str(requirements)], progress, log)
    progress.end()


def pinned(requirements: Path) -> set[str]:
    """Normalised names of the packages that a file pins, with those of the files that it includes."""
    names: set[str] = set()
    for line in requirements.read_text().splitlines():
        if line.startswith("-r "):
            names |= pinned(requirements.parent / line.removeprefix("-r ").strip())
        elif "==" in line and not line.startswith("#"):
            names.add(normalised(line.partition("==")[0]))
    return names


def run_pip(options: list[str], progress: Progress, log: IO[str]) -> None:
    """``pip install`` with ``options``; what it prints goes to ``log``, and to ``progress``.

    Raises:
        InstallError: it failed.
    """
    pip = [str(VENV / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
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
        if self._installing:
            print(f"installed {self._installing} packages in {duration(time.monotonic() - self._started)}", flush=True)

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
