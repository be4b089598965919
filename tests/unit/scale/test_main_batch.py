"""``scale/main_batch.py``: what cannot work is said in a line before anything is computed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from scale import main_batch
from supervisor.processes import free_port
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--archive", "none.mar"], "make archive"),
        (["--archive", str(ROOT / "README.md")], "is not an archive"),
        (["--address", "nowhere"], "--address nowhere is not HOST:PORT"),
        (["--address", f"127.0.0.1:{free_port()}"], "ray start --head"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_work_is_said_in_a_line(
    tmp_path: Path, example_images: list[Path], capsys: pytest.CaptureFixture[str], options: list[str], said: str
):
    if options[0] == "--address" and not (ROOT / "model_store/mlbio.mar").exists():
        pytest.skip("needs model_store/mlbio.mar: `make archive`")
    assert main_batch.main([str(example_images[0].parent), "--output", str(tmp_path / "out"), *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and said in printed.err.splitlines()[-1] and "Traceback" not in printed.err


def test_without_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    assert main_batch.main([str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "--requirements requirements-ray.txt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--shard", "0", "at least 1"), ("--cores", "0", "at least 1"), ("--explain", "sometimes", "Importante")],
)
def test_a_wrong_value_names_its_option(tmp_path: Path, capsys, option: str, value: str, said: str):
    with pytest.raises(SystemExit, match="2"):
        main_batch.main([str(tmp_path), "--output", str(tmp_path / "out"), option, value])
    error = capsys.readouterr().err.splitlines()[-1]
    assert option in error and said in error


def test_a_file_as_output(tmp_path: Path, capsys):
    (tmp_path / "a.mar").touch()
    (tmp_path / "out").touch()
    assert (
        main_batch.main([str(tmp_path), "--output", str(tmp_path / "out"), "--archive", str(tmp_path / "a.mar")]) == 2
    )
    assert "it is a file, not a folder" in capsys.readouterr().err
