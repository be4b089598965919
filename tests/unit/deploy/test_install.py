"""`make setup`, with real pip and uv, from an index on this machine."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from supervisor.processes import free_port
from tests.conftest import ROOT

PINNED = {name: importlib.metadata.version(name) for name in ("setuptools", "uv")} | {"torch": "1.0"}


class Index(SimpleHTTPRequestHandler):
    """A package index: the listings of folders that are named after packages."""

    def log_message(self, *arguments: object) -> None:
        """Nothing is logged."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what every set-up needs, and a torch."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in ("setuptools", "uv"):
        repack(folder, name)
    make_wheel(folder, "torch", {"torch.py": b""})
    return folder


@pytest.fixture
def index(wheels: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Index, directory=str(wheels))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with nothing but the set-up, in a folder with a space in its name."""
    folder = tmp_path / "a project"
    (folder / "deploy").mkdir(parents=True)
    for name in ("Makefile", "deploy/install.sh"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "requirements.txt").write_text("".join(f"{name}=={version}\n" for name, version in PINNED.items()))
    (folder / "pyproject.toml").write_text(
        "[project]\nname = 'tiny'\nversion = '1'\n[tool.setuptools]\npy-modules = []\n"
    )
    return folder


def repack(folder: Path, name: str) -> None:
    """Make a wheel of an installed package."""
    contents = {}
    for file in importlib.metadata.files(name) or []:
        if "__pycache__" not in file.parts and file.name not in ("RECORD", "WHEEL", "METADATA"):
            scripts = f"{name}-{PINNED[name]}.data/scripts/{file.name}"
            contents[scripts if file.parts[0] == ".." else str(file)] = file.read_binary()
    make_wheel(folder, name, contents)


def make_wheel(folder: Path, name: str, contents: dict[str, bytes]) -> None:
    info = f"{name}-{PINNED[name]}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {PINNED[name]}\n"
    wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    contents = contents | {f"{info}/METADATA": metadata.encode(), f"{info}/WHEEL": wheel.encode()}
    contents[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*contents, f"{info}/RECORD"]).encode()
    (folder / name).mkdir()
    with zipfile.ZipFile(folder / name / f"{name}-{PINNED[name]}-py3-none-any.whl", "w") as archive:
        for file, content in contents.items():
            entry = zipfile.ZipInfo(file)
            entry.external_attr = (stat.S_IFREG | (0o755 if "/scripts/" in file else 0o644)) << 16
            archive.writestr(entry, content)


def python() -> str:
    """The interpreter that this environment was made with."""
    return str(Path(sys._base_executable))


def setup(project: Path, index: str, *options: str) -> subprocess.CompletedProcess[str]:
    """`make setup` where pip's configuration names ``index``, and no other host can be reached."""
    configuration = project.parent / "pip.conf"
    configuration.write_text(f"[global]\nindex-url = {index}\nretries = 0\nno-cache-dir = true\n")
    ours = ("PIP_", "UV_", "MAKE", "VIRTUAL_ENV", "TORCH_BACKEND")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"PIP_CONFIG_FILE": str(configuration), "UV_CACHE_DIR": str(project.parent / "cache")}
    proxy = f"http://127.0.0.1:{free_port()}"
    for name, value in {"http_proxy": proxy, "https_proxy": proxy, "no_proxy": "127.0.0.1"}.items():
        environment |= {name: value, name.upper(): value}
    command = ["make", "setup", f"PYTHON={python()}", *options]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=300)


def test_a_failed_setup_goes_on_with_the_same_command(project: Path, index: str, wheels: Path):
    """Everything comes from pip's index, torch too where PyTorch's own cannot be reached."""
    half_made = project / ".venv/bin/python"
    half_made.parent.mkdir(parents=True)
    half_made.touch()
    (wheels / "torch").rename(wheels / "lost")
    try:
        failed = setup(project, index)
    finally:
        (wheels / "lost").rename(wheels / "torch")
    assert failed.returncode != 0 and "torch" in failed.stderr and "Traceback" not in failed.stderr
    assert (project / ".venv/bin/uv").exists()
    finished = setup(project, index)
    assert finished.returncode == 0, finished.stderr
    packages = next((project / ".venv").glob("lib/python*/site-packages"))
    assert {"torch.py", "tiny-1.dist-info"} < {path.name for path in packages.iterdir()}
    again = setup(project, index)
    assert "Nothing to be done" in again.stdout and again.stderr == ""


PINNED_TORCH = "torch==1.0"
EVERYTHING = ["--requirements", "a file"]


@pytest.mark.parametrize(
    ("backend", "answers", "installed"),
    [
        ("auto", True, [["--torch-backend=auto", PINNED_TORCH], EVERYTHING]),
        ("auto", False, [EVERYTHING]),
        ("cu130", True, [["--torch-backend=cu130", PINNED_TORCH], EVERYTHING]),
        ("cu130", False, [["--torch-backend=cu130", PINNED_TORCH]]),
        ("", True, [EVERYTHING]),
    ],
)
def test_the_build_of_torch_that_is_installed(project: Path, backend: str, answers: bool, installed: list[list[str]]):
    """With a Python in whose uv PyTorch's index answers, or not."""
    pretend = project / "a python"
    pretend.write_text(
        '#!/bin/sh\ncase "$*" in *--dry-run*) ;; "-m uv"*) printf "%s|" "$@"; echo;; esac\n'
        f'case "$*" in *--torch-backend*) exit {0 if answers else 2};; esac\n'
    )
    pretend.chmod(0o755)
    finished = subprocess.run(
        ["sh", "deploy/install.sh", pretend, *EVERYTHING],
        cwd=project,
        env=os.environ | {"TORCH_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    command = ["-m", "uv", "pip", "install", "--python", str(pretend)]
    assert [line.split("|")[:-1] for line in finished.stdout.splitlines()] == [
        command + options for options in installed
    ]
    assert finished.returncode == (0 if EVERYTHING in installed else 2)


def test_without_a_network_the_error_says_what_to_check(project: Path):
    failed = setup(project, f"http://127.0.0.1:{free_port()}/simple")
    assert failed.returncode != 0 and "Traceback" not in failed.stderr
    assert "check the network" in failed.stderr


def test_a_python_that_is_too_old_or_missing_is_refused(project: Path):
    old = project / "old python"
    pretend = "import sys; sys.version_info = (3, 9, 2, 'final', 0); exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nexec {python()} -c "{pretend}" "$2"\n')
    old.chmod(0o755)
    assert "this is Python 3.9, and 3.11 is needed" in the_line(setup(project, "", f"PYTHON={old}"))
    missing = setup(project, "", "PYTHON=/nowhere/python3.11")
    assert "there is no /nowhere/python3.11: install Python 3.11" in the_line(missing)
    assert not (project / ".venv").exists()


def the_line(finished: subprocess.CompletedProcess[str]) -> str:
    """The error without make's own line."""
    assert finished.returncode != 0
    (line,) = [line for line in finished.stderr.splitlines() if not line.startswith("make: *** ")]
    return line
