"""Processes, devices, and bf16 where it is faster. Several processes at work: tests/e2e/test_train.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from api.arguments import UsageError
from train import hardware
from train.hardware import Processes, autocast, bfloat16_is_faster


def test_processes_are_those_of_torchrun_or_a_single_one(monkeypatch):
    variables = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    processes = Processes.from_environment()
    assert processes == Processes(rank=5, local_rank=1, world_size=8) and not processes.is_main
    for name in variables:
        monkeypatch.delenv(name)
    assert Processes.from_environment() == Processes(0, 0, 1) and Processes(0, 0, 1).is_main


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x"])
def test_a_device_that_cannot_be_used_is_refused(device):
    with pytest.raises(UsageError, match=f"--device {device} cannot be used") as refused:
        Processes().device(device)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("faster", [True, False])
def test_bf16_is_used_where_it_is_faster_and_enabled(monkeypatch, faster, enabled):
    monkeypatch.setattr(hardware, "bfloat16_is_faster", lambda: faster)
    with autocast(torch.device("cpu"), enabled=enabled):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if faster and enabled else torch.float32)


@pytest.mark.parametrize(
    "in_bfloat16, in_float32, faster",
    [([3, 3, 1, 3, 3, 3], [2] * 6, True), ([3] * 6, [4, 4, 4, 4, 4, 2], False), ([2] * 6, [2] * 6, False)],
)
def test_the_shortest_step_of_each_type_decides(monkeypatch, in_bfloat16, in_float32, faster):
    """Slow steps may have waited for something else. Gradients are computed in inference mode as well."""
    times = [time for seconds in in_bfloat16 + in_float32 for time in (10, 10 + seconds)]
    monkeypatch.setattr(hardware, "time", SimpleNamespace(perf_counter=iter(times).__next__))
    with torch.inference_mode():
        assert bfloat16_is_faster.__wrapped__() is faster
