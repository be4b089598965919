"""``--help`` of every command answers at once: the options are read before anything that takes seconds is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

COMMANDS = sorted(
    str(path.relative_to(ROOT))
    for path in ROOT.glob("*/*.py")
    if path.parent.name != "tests"
    and "ArgumentParser(" in (text := path.read_text(encoding="utf-8"))
    and "__main__" in text
)
HEAVY = {"torch", "torchvision", "ray", "streamlit", "matplotlib", "sklearn", "skimage", "scipy", "pandas"}


def test_the_documented_commands_are_among_them():
    assert {"train/main_train.py", "evaluate/main_evaluate.py", "benchmarks/speed.py"} <= {*COMMANDS}


@pytest.mark.parametrize("command", [*COMMANDS, "cli/client.py"])
def test_help_imports_nothing_heavy(command: str):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and done.stdout.startswith("usage: ")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported and not imported & HEAVY
