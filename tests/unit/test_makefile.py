"""`make help` and `make clean`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.conftest import ROOT


def run(*command: str, folder: Path = ROOT) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "GIT_"))}
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_help_names_every_command_and_every_setting():
    makefile = (ROOT / "Makefile").read_text()
    listed = run("make", "help")
    for target in re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split():
        assert f"make {target} " in listed
    names = re.findall(r"^## ([A-Z]+) ", makefile, re.MULTILINE)
    assert {"IMAGE", "MODEL", "CUDA"} < set(names)
    for name in set(names) - {"CUDA"}:  # which a script of make's reads
        assert re.search(rf"^  {name} ", listed, re.MULTILINE) and f"$({name})" in makefile.replace("value ", "")


def test_clean_leaves_nothing_that_git_ignores(tmp_path: Path):
    """Each pattern of .gitignore gets a file, in the root and in a folder with a space."""
    for name in ("Makefile", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    kept = [tmp_path / "a folder/photo.jpg", tmp_path / "model_store/model_mlbio.pth"]
    for file in kept:
        file.parent.mkdir()
        file.touch()
    patterns = (tmp_path / ".gitignore").read_text().split()
    assert len(patterns) > 10
    for pattern in patterns:
        name = pattern.strip("/").replace("*", "x")
        anywhere = "/" not in pattern.rstrip("/") and not pattern.endswith("/")
        for folder in (tmp_path, tmp_path / "a folder") if anywhere or pattern == "__pycache__/" else (tmp_path,):
            made = folder / name / "file" if pattern.endswith("/") else folder / name
            made.parent.mkdir(parents=True, exist_ok=True)
            made.touch()
    run("git", "init", "--quiet", folder=tmp_path)
    run("git", "add", ".", folder=tmp_path)
    assert len(run("git", "clean", "-ndx", folder=tmp_path).splitlines()) >= len(patterns)
    run("make", "clean", folder=tmp_path)
    assert run("git", "clean", "-ndx", folder=tmp_path) == ""
    assert all(file.exists() for file in kept)


def test_a_promoted_archive_is_not_made_anew_by_newer_code_but_on_request(tmp_path: Path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (".venv/run.stamp", "requirements.txt", "pyproject.toml", "train/archive.py", "handler/a.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    store = tmp_path / "model_store"
    store.mkdir()
    for name in ("model_mlbio.pth", "mlbio.mar", "promoted"):
        (store / name).touch()
    for name in ("requirements.txt", "pyproject.toml", "model_store/mlbio.mar"):
        os.utime(tmp_path / name, (1, 1))
    packs = "train/archive.py"
    said = run("make", "PY=echo", "model_store/mlbio.mar", folder=tmp_path)
    assert "holds a promoted model" in said and "make archive goes back" in said and packs not in said
    assert packs in run("make", "PY=echo", "archive", folder=tmp_path)
    (store / "promoted").unlink()
    assert packs in run("make", "PY=echo", "model_store/mlbio.mar", folder=tmp_path)
