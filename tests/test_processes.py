"""Several processes train as one does: ``torchrun`` with two, on this machine's CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from handler.classifier import Checkpoint
from tests.conftest import ROOT
from tests.test_train import make_root
from train.processes import Processes

EPOCHS = 12

# The command itself, on pictures that a test can afford.
SMALL = """
import sys
from train import augment, main_train
augment.MIXED = augment.ERASE = 0  # with batches of eight they would be most of what is seen
main_train.RECIPE |= {"sizes": [[1.0, 32]], "batch": 8, "learning_rate": 2e-4}
main_train.Processes.from_environment().exit(main_train.main())
"""

# Three steps on halves of the same batch; each process leaves the weights that it has then.
STEPS = """
import sys, torch
from train.processes import Processes
torch.manual_seed(0)
x, y = torch.randn(8, 6), torch.randn(8, 1)
group = Processes.from_environment()
network = group.join(torch.nn.Linear(6, 1), torch.device("cpu"))
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
for _ in range(3):
    mine = slice(group.rank, None, group.count)
    loss = torch.nn.functional.mse_loss(network(x[mine]), y[mine])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
core = network.module if group.count > 1 else network
total = group.sum(torch.tensor([float(group.rank + 1)]))
left = {"weight": core.weight.data, "sum": total, "lead": group.lead}
torch.save(left, f"{sys.argv[1]}/{group.count}_{group.rank}.pt")
group.leave()
group.exit(0)
"""


def torchrun(processes: int, script: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    """``script`` under torchrun, on a free port that it finds itself."""
    path = folder / "script.py"
    path.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", path]
    return subprocess.run(
        [str(part) for part in [*command, *arguments]], cwd=folder, capture_output=True, text=True, timeout=300
    )


def test_a_process_alone_needs_no_torchrun(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    group = Processes.from_environment()
    assert group == Processes(rank=0, local=0, count=1) and group.lead
    network = torch.nn.Conv2d(1, 1, 1)
    assert group.join(network, torch.device("cpu")) is network
    assert group.sum(torch.tensor([3.0])).item() == 3
    group.leave()


def test_two_processes_take_the_steps_of_one(tmp_path):
    for processes in (1, 2):
        done = torchrun(processes, STEPS, tmp_path, tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
    alone, first, second = (torch.load(tmp_path / name) for name in ("1_0.pt", "2_0.pt", "2_1.pt"))
    assert torch.equal(first["weight"], second["weight"])
    torch.testing.assert_close(first["weight"], alone["weight"])
    assert (alone["sum"].item(), first["sum"].item(), second["sum"].item()) == (1, 3, 3)
    assert first["lead"] and not second["lead"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, init) -> dict[int, tuple[subprocess.CompletedProcess, Checkpoint]]:
    """The training command with one process and with two, twelve epochs each."""
    folder = tmp_path_factory.mktemp("torchrun")
    root = make_root(folder / "ham10000")
    done = {}
    for processes in (1, 2):
        target = folder / f"{processes}.pth"
        run = torchrun(processes, SMALL, folder, root, "--init", init, "--epochs", EPOCHS, "--modelname", target,
                       "--device", "cpu")  # fmt: skip
        assert run.returncode == 0, run.stderr[-3000:]
        done[processes] = run, Checkpoint.load(target)
    assert not list(folder.glob("*.resume.pth"))
    return done


def test_one_process_of_two_writes_and_speaks(runs):
    run, checkpoint = runs[2]
    assert run.stdout.count("images to learn from") == 1 and ", 2 processes" in run.stdout
    assert run.stdout.count("validation: ") == EPOCHS and run.stdout.count("best epoch") == 1
    assert checkpoint.training["processes"] == 2


def test_two_processes_train_as_one_does(runs):
    alone, together = runs[1][1], runs[2][1]
    assert alone.training["images"] == together.training["images"]
    assert len(alone.training["history"]) == len(together.training["history"]) == EPOCHS
    # Views and batch statistics differ, so the two agree in how well they learn and not in digits.
    losses = [[epoch["loss"] for epoch in c.training["history"]] for c in (alone, together)]
    means = [(sum(run[:4]) / 4, sum(run[-4:]) / 4) for run in losses]
    assert all(last < first - 0.2 for first, last in means)
    assert means[0] == pytest.approx(means[1], abs=1.0)


def test_a_fault_is_told_once(tmp_path, init):
    done = torchrun(2, SMALL, tmp_path, tmp_path / "nowhere", "--init", init)
    assert done.returncode != 0
    assert done.stderr.count("main_train.py: error: ") == 1 and "nowhere is not a folder" in done.stderr
