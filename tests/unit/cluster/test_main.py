"""The command's errors, one line each, before anything is started."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import subprocess
import sys
import types
from pathlib import Path

import pytest

from cluster import main as command
from supervisor.processes import free_port
from tests.conftest import ROOT


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that the command says when it fails."""
    assert command.main(list(arguments)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ray_serve.py: error: ")
    return line


@pytest.fixture
def archive(tmp_path: Path) -> str:
    path = tmp_path / "mlbio.mar"
    path.write_bytes(b"not looked into")
    return str(path)


def test_no_archive(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert "make archive" in failed(capsys, "--archive", str(tmp_path / "none.mar"))


def test_a_port_in_use(capsys: pytest.CaptureFixture[str], archive: str):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "--port" in failed(capsys, "--archive", archive, "--port", str(taken.getsockname()[1]))


def test_no_ray(capsys: pytest.CaptureFixture[str], archive: str, monkeypatch: pytest.MonkeyPatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    assert "pip install -r requirements-ray.txt" in failed(capsys, "--archive", archive)


def test_an_update_to_what_is_no_archive(capsys: pytest.CaptureFixture[str], archive: str):
    assert "not an archive" in failed(capsys, "--archive", archive, "--address", "127.0.0.1:1", "--update")


def test_a_wrong_address(capsys: pytest.CaptureFixture[str], archive: str):
    arguments = ["--archive", archive, "--port", str(free_port())]
    assert "--address" in failed(capsys, *arguments, "--address", "nowhere")


def test_an_update_without_an_address(capsys: pytest.CaptureFixture[str], archive: str):
    assert "--address" in failed(capsys, "--archive", archive, "--update")


def test_an_address_where_nothing_listens(capsys: pytest.CaptureFixture[str], archive: str):
    arguments = ["--archive", archive, "--port", str(free_port()), "--address", f"127.0.0.1:{free_port()}"]
    assert "ray start --head" in failed(capsys, *arguments)


def test_the_command_starts_without_ray():
    code = "import sys, cluster.main; sys.exit('ray' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_an_update_where_no_service_runs(capsys: pytest.CaptureFixture[str], archive: str, monkeypatch):
    """It would leave replicas without a gateway behind."""
    from cluster import deployment

    monkeypatch.setattr(command, "refuse_silent_address", lambda address: None)
    monkeypatch.setattr(command, "connected", lambda address: contextlib.nullcontext())
    monkeypatch.setattr(command.Archive, "load", lambda self: None)
    monkeypatch.setattr(deployment, "deploy", lambda *_: pytest.fail("it was deployed"))
    monkeypatch.setattr(deployment.serve, "status", lambda: types.SimpleNamespace(applications={}))
    assert "no service runs at 127.0.0.1:1" in failed(
        capsys, "--archive", archive, "--address", "127.0.0.1:1", "--update"
    )
