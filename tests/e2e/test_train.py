"""The training command as it is run: by itself, and by ``torchrun`` with two processes on this machine's CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from handler.model.checkpoint import Checkpoint
from tests.conftest import ROOT
from tests.tiny_ham10000 import make_root

pytestmark = pytest.mark.slow

EPOCHS = 6

# The command itself, on images that a test can afford. With batches of eight, mixup and erasing would dominate.
SMALL = """
from dataclasses import replace
from train import calibrate, main_train
from train.augment import Augmentation
from train.hardware import Processes
from train.recipe import Recipe
calibrate.QUANTISATION_IMAGES = 8
augmentation = Augmentation(mixup_probability=0.0, erase_probability=0.0)
recipe = replace(Recipe(), sizes=((1.0, 32),), batch_size=8, learning_rate=2e-4, augmentation=augmentation)
Processes.from_environment().exit(main_train.main(recipe=recipe))
"""

# Three steps on halves of the same batch; each process saves its weights after them.
STEPS = """
import sys, torch
from train.hardware import Processes
torch.manual_seed(0)
x, y = torch.randn(8, 6), torch.randn(8, 1)
processes = Processes.from_environment()
network = processes.wrap(torch.nn.Linear(6, 1), torch.device("cpu"))
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
for _ in range(3):
    own = slice(processes.rank, None, processes.world_size)
    loss = torch.nn.functional.mse_loss(network(x[own]), y[own])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
core = network.module if processes.world_size > 1 else network
total = processes.sum(torch.tensor([float(processes.rank + 1)]))
result = {"weight": core.weight.data, "sum": total, "is_main": processes.is_main}
torch.save(result, f"{sys.argv[1]}/{processes.world_size}_{processes.rank}.pt")
processes.close()
processes.exit(0)
"""


def launch(processes: int, script: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    """Run ``script`` by itself, or several processes of it under torchrun, which finds a free port itself."""
    path = folder / "script.py"
    path.write_text(script)
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    command = [str(part) for part in [sys.executable, *torchrun, path, *arguments]]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_a_wrong_folder_is_refused_by_the_documented_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "train/main_train.py", str(tmp_path / "nowhere")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("main_train.py: error: ") and "nowhere is not a folder" in done.stderr
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_two_processes_take_the_steps_of_one(tmp_path):
    for processes in (1, 2):
        done = launch(processes, STEPS, tmp_path, tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
    alone, first, second = (torch.load(tmp_path / name) for name in ("1_0.pt", "2_0.pt", "2_1.pt"))
    assert torch.equal(first["weight"], second["weight"])
    torch.testing.assert_close(first["weight"], alone["weight"])
    assert (alone["sum"].item(), first["sum"].item(), second["sum"].item()) == (1, 3, 3)
    assert first["is_main"] and not second["is_main"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, init) -> dict[int, tuple[subprocess.CompletedProcess, Checkpoint]]:
    """The training command with one process and with two, six epochs each."""
    folder = tmp_path_factory.mktemp("torchrun")
    root = make_root(folder / "ham10000")
    done = {}
    for processes in (1, 2):
        path = folder / f"{processes}.pth"
        options = ["--init", init, "--epochs", EPOCHS, "--modelname", path, "--device", "cpu"]
        run = launch(processes, SMALL, folder, root, *options)
        assert run.returncode == 0, run.stderr[-3000:]
        done[processes] = run, Checkpoint.load(path)
    assert not list(folder.glob("*.resume.pth"))
    return done


def test_one_process_of_two_writes_and_prints(runs):
    run, checkpoint = runs[2]
    assert run.stdout.count("training images") == 1 and ", 2 processes" in run.stdout
    assert run.stdout.count("validation: ") == EPOCHS and run.stdout.count("best epoch") == 1
    assert checkpoint.training["processes"] == 2


def test_two_processes_train_as_one_does(runs):
    alone, together = runs[1][1], runs[2][1]
    assert alone.training["images"] == together.training["images"]
    assert len(alone.training["history"]) == len(together.training["history"]) == EPOCHS
    # Views and batch statistics differ, so the two agree in how well they learn and not in digits.
    losses = [[epoch["loss"] for epoch in c.training["history"]] for c in (alone, together)]
    means = [(sum(run[:2]) / 2, sum(run[-2:]) / 2) for run in losses]
    assert all(last < first - 0.1 for first, last in means)
    assert means[0] == pytest.approx(means[1], abs=1.0)


def test_an_error_is_printed_once(tmp_path, init):
    """Even if the process that prints it is the last one to see it: torchrun ends all when one has failed."""
    late = "import os, time; time.sleep(2 * (os.environ['RANK'] == '0'))\n"
    done = launch(2, late + SMALL, tmp_path, tmp_path / "nowhere", "--init", init)
    assert done.returncode != 0
    assert done.stderr.count("main_train.py: error: ") == 1 and "nowhere is not a folder" in done.stderr
