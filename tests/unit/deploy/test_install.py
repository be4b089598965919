"""The first set-up: real pip, real obstacles, and what is said about them."""

from __future__ import annotations

import contextlib
import os
import platform
import pty
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy import install
from supervisor.processes import free_port
from tests.conftest import ROOT

NAMES = ("first_part", "second-part")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository of which only the set-up is there, in a folder whose name has a space."""
    folder = tmp_path / "a project"
    (folder / "deploy").mkdir(parents=True)
    for name in ("Makefile", "deploy/install.py", "deploy/slim.py", "deploy/elf.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "requirements.txt").write_text("# pinned\n" + "".join(f"{name}==1.0\n" for name in NAMES))
    (folder / "pyproject.toml").write_text(
        "[project]\nname = 'tiny'\nversion = '1'\n[tool.setuptools]\npy-modules = []\n"
    )
    return folder


@pytest.fixture(scope="module")
def empty_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the set-up makes first, and most of its time here: a virtual environment with pip alone."""
    folder = tmp_path_factory.mktemp("empty") / ".venv"
    subprocess.run([python(), "-m", "venv", str(folder)], check=True, timeout=120)
    return folder


@pytest.fixture
def begun(project: Path, empty_environment: Path) -> Path:
    """The project with the virtual environment that the set-up finds there and goes on with."""
    shutil.copytree(empty_environment, project / ".venv", symlinks=True)
    return project


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with the pinned packages."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in (n.replace("-", "_") for n in NAMES):
        make_wheel(folder, name)
    return folder


def make_wheel(folder: Path, name: str, code: str = "", requires: str = "") -> None:
    """A wheel of one module."""
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        info = f"{name}-1.0.dist-info"
        wheel.writestr(f"{name}/__init__.py", code)
        needed = f"Requires-Dist: {requires}\n" if requires else ""
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needed}")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def environment(**more: str) -> dict[str, str]:
    """No index but those that a test names."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "VIRTUAL_ENV"))}
    return kept | {"PIP_CONFIG_FILE": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"} | more


def setup(project: Path, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "setup", f"PYTHON={python()}", *options]
    return subprocess.run(command, cwd=project, env=environment(**more), capture_output=True, text=True, timeout=120)


def python() -> str:
    """The interpreter that this environment was made with."""
    return str(Path(sys._base_executable))


def the_line(finished: subprocess.CompletedProcess[str]) -> str:
    """What was said beside make's own line."""
    assert finished.returncode != 0
    (line,) = [line for line in finished.stderr.splitlines() if not line.startswith("make: *** ")]
    return line


def test_pinned_packages_are_counted_and_installed(project: Path, wheels: Path):
    finished = setup(project, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels))
    # The editable install of the project itself needs setuptools, which is not among these.
    lines = finished.stdout.splitlines()
    assert lines[0].startswith("looking up: ") and re.fullmatch(r"installed 2 packages in \d:\d\d", lines[-1])
    assert "\r" not in finished.stdout
    packages = next((project / ".venv").glob("lib/python*/site-packages"))
    assert (packages / "first_part").exists() and (packages / "second_part").exists()
    assert "setuptools" in (project / ".venv/pip.log").read_text()


@pytest.fixture
def with_torch(begun: Path, wheels: Path) -> Callable[..., list[str]]:
    """Sets a project up that pins a torch, which requires a library of CUDA; returns the names of the packages."""
    pins = begun / "requirements.txt"
    pins.write_text(pins.read_text() + "torch==1.0\ntorchvision==1.0\n")
    make_wheel(wheels, "torchvision")
    make_wheel(wheels, "nvidia")

    def set_up(code: str = "", **variables: str) -> list[str]:
        make_wheel(wheels, "torch", code, requires="nvidia")
        options = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)} | variables
        setup(begun, **options)
        return sorted(path.name for path in (begun / ".venv").glob("lib/python*/site-packages/*"))

    return set_up


@pytest.mark.skipif(platform.machine() != "x86_64", reason="PyPI's torch has CUDA on x86-64 alone")
def test_without_a_gpu_torch_comes_without_cuda(with_torch: Callable[..., list[str]]):
    """Also when the set-up goes on after it was interrupted."""
    for _ in range(2):
        packages = with_torch(CUDA="0")
        assert {"torch", "torchvision", "first_part"} < set(packages) and "nvidia" not in packages


def test_cuda_comes_where_it_is_asked_for(with_torch: Callable[..., list[str]]):
    assert {"torch", "nvidia"} < set(with_torch(CUDA="1"))
    assert "nvidia" in with_torch(CUDA="0"), "what is there stays"


def test_a_torch_that_needs_cuda_to_be_imported_gets_it(with_torch: Callable[..., list[str]]):
    assert {"torch", "nvidia"} < set(with_torch("import nvidia", CUDA="0"))


def test_in_a_terminal_one_line_moves(begun: Path, wheels: Path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [python(), "deploy/install.py", "requirements.txt"],
        cwd=begun,
        env=environment(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels), TERM="xterm", COLUMNS="60"),
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(ours, 4096):
            said += part
    os.close(ours)
    assert process.wait(60) == 0
    *moving, last = said.decode().replace("\r\n", "\n").rstrip("\n").split("\r")
    assert re.fullmatch(r"installed 2 packages in \d:\d\d", last)
    assert any(re.match(r"downloading: \d of 2 packages, second_part 1.0, 0:\d\d", line) for line in moving)
    assert all(len(line) < 60 and "\n" not in line for line in moving)


def test_without_a_network_one_line_says_so(begun: Path):
    index = f"http://127.0.0.1:{free_port()}/simple"
    line = the_line(setup(begun, PIP_INDEX_URL=index, PIP_RETRIES="1"))
    assert "index cannot be reached" in line and "check the network" in line


def test_a_package_that_the_index_lacks_is_named(begun: Path, wheels: Path):
    next(wheels.glob("second*")).unlink()
    line = the_line(setup(begun, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels)))
    assert "no second-part==1.0 for Python" in line


def test_an_old_python_is_refused(project: Path, tmp_path: Path):
    old = tmp_path / "old python"
    pretend = "import sys; sys.version_info = (3, 9, 2, 'final', 0); exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nexec {python()} -c "{pretend}" "$2"\n')
    old.chmod(0o755)
    assert "this is Python 3.9, and 3.11 is needed" in the_line(setup(project, f"PYTHON={old}"))
    assert not (project / ".venv").exists()


def test_a_python_that_is_not_there_is_named(project: Path):
    assert "there is no /nowhere/python3.11: install Python 3.11" in the_line(
        setup(project, "PYTHON=/nowhere/python3.11")
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount") or "mount"
    if (
        os.geteuid()
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=8m", "none", str(folder)], check=False).returncode
    ):
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_small_disk_is_said_before_anything_is_made(project: Path, small_disk: Path):
    shutil.copytree(project, small_disk / "project")
    line = the_line(setup(small_disk / "project", CUDA="0"))
    assert "has 0.0 GB left and the packages need 2.5 GB there" in line
    assert "need 7 GB there" in the_line(setup(small_disk / "project", CUDA="1"))
    assert not (small_disk / "project/.venv").exists()


def test_a_small_temporary_folder_is_said_with_its_variable(project: Path, small_disk: Path):
    line = the_line(setup(project, TMPDIR=str(small_disk), CUDA="1"))
    assert str(small_disk) in line and "need 3 GB there" in line and "TMPDIR" in line


def test_a_disk_that_fills_up_is_said():
    said = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
    assert install.reason(said).startswith("the disk is full")


def test_downloads_are_counted_with_their_size():
    progress = install.Progress({"torch", "pillow"})
    for line in (
        "Collecting torch==2.14.1 (from -r requirements.txt (line 80))\n",
        "  Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (29 kB)\n",
        "Collecting nvidia-cublas==13.1.0 (from torch)\n",
    ):
        progress.note(line)
    assert progress.text() == "looking up: 1 of 2 packages"
    progress.note("Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (820.5 MB)\n")
    assert progress.text() == "downloading: 1 of 2 packages, 0.8 GB, torch 2.14.1 (820.5 MB)"
    progress.note("WARNING: Retrying (Retry(total=4, connect=None)) after connection broken by …\n")
    assert progress.text() == "no connection to the package index, trying again"
    progress.note("Using cached nvidia_cublas-13.1.0-py3-none-manylinux_2_27_x86_64.whl (400 MB)\n")
    assert progress.text() == "downloading: 1 of 2 packages, 0.8 GB, nvidia_cublas 13.1.0"


def test_included_files_are_counted(tmp_path: Path):
    (tmp_path / "a.txt").write_text("-r b.txt\nPy_YAML==1\n# none==1\n")
    (tmp_path / "b.txt").write_text("torch==2\n")
    assert install.pinned(tmp_path / "a.txt") == {"py-yaml": "1", "torch": "2"}
