"""A single process, and what torchrun's environment means. Several processes at work: tests/e2e/test_train.py."""

from __future__ import annotations

import pytest
import torch

from api.arguments import UsageError
from train.processes import Processes


def test_a_single_process_needs_no_torchrun(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    processes = Processes.from_environment()
    assert processes == Processes(rank=0, local_rank=0, world_size=1) and processes.is_main
    network = torch.nn.Conv2d(1, 1, 1)
    assert processes.wrap(network, torch.device("cpu")) is network
    assert processes.sum(torch.tensor([3.0])).item() == 3
    processes.close()


def test_torchruns_environment_is_read(monkeypatch):
    for name, value in {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    processes = Processes.from_environment()
    assert processes == Processes(rank=5, local_rank=1, world_size=8) and not processes.is_main


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x"])
def test_a_device_that_cannot_be_used_is_refused(device):
    with pytest.raises(UsageError, match=f"--device {device} cannot be used") as refused:
        Processes().device(device)
    assert "\n" not in str(refused.value)
