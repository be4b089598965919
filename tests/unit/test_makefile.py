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
    names = re.findall(r"^## ([A-Z_]+) ", makefile, re.MULTILINE)
    assert {"IMAGE", "MODEL", "TORCH_BACKEND"} < set(names)
    for name in set(names) - {"TORCH_BACKEND"}:  # which deploy/install.sh reads
        assert re.search(rf"^  {name} ", listed, re.MULTILINE) and f"$({name})" in makefile.replace("value ", "")


def test_clean_deletes_what_was_made_and_leaves_what_is_the_users(tmp_path: Path):
    for name in ("Makefile", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    made = [
        *(".venv/bin/python", "api/__pycache__/classes.pyc", "a folder/__pycache__/a.pyc", "mlbio.egg-info/PKG-INFO"),
        *(".mypy_cache/a", ".cache/a", ".hypothesis/a", ".run/a", "build/docs/index.html", "logs/torchserve.log"),
        *("model_store/mlbio.mar", "model_store/mlbio.mar.sha256", "model_store/previous/mlbio.mar"),
        *("model_store/promoted", "model_store/score_card_mine/a.json", "model_store/model_mlbio.resume.pth"),
        *("examples/drawn_nevus_explained.png", "examples/.ipynb_checkpoints/notebook.ipynb"),
    ]
    kept = [
        *("photo_explained.png", "a folder/photo_explained.png", "examples/mine_explained.png", "training.log"),
        *("retrained/model.pth", "retrained/model.resume.pth", "retrained/mlbio.mar", ".env"),
        *("model_store/model_mlbio.pth", "model_store/score_card/score_card.json", "examples/drawn_nevus.jpg"),
    ]
    for name in made + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    run("git", "init", "--quiet", folder=tmp_path)
    ignored = run("git", "check-ignore", *made, ".env", "photo_explained.png", folder=tmp_path)
    assert len(ignored.splitlines()) == len(made) + 2
    run("make", "clean", folder=tmp_path)
    assert [name for name in made if (tmp_path / name).exists()] == []
    assert [name for name in kept if not (tmp_path / name).exists()] == []


def test_a_promoted_archive_is_not_made_anew_by_newer_code_but_on_request(tmp_path: Path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    installed = (".venv/bin/uv", ".venv/run.stamp")
    for name in ("requirements.txt", "pyproject.toml", *installed, "train/archive.py", "handler/a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
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
