"""bf16 where the machine is faster with it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from train import precision
from train.precision import bfloat16_is_faster, mixed_precision


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("faster", [True, False])
def test_bf16_is_used_where_it_is_faster_and_enabled(monkeypatch, faster, enabled):
    monkeypatch.setattr(precision, "bfloat16_is_faster", lambda: faster)
    with mixed_precision(torch.device("cpu"), enabled=enabled):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if faster and enabled else torch.float32)


def test_what_is_not_enabled_is_not_tried(monkeypatch):
    monkeypatch.setattr(precision, "bfloat16_is_faster", lambda: pytest.fail("tried"))
    mixed_precision(torch.device("cpu"), enabled=False)


@pytest.mark.parametrize(
    "in_bfloat16, in_float32, faster",
    [([3, 3, 1, 3, 3, 3], [2] * 6, True), ([3] * 6, [4, 4, 4, 4, 4, 2], False), ([2] * 6, [2] * 6, False)],
)
def test_the_shortest_step_of_each_type_decides(monkeypatch, in_bfloat16, in_float32, faster):
    """A step takes as long as the clock says: a slow one may have waited for something else."""
    times = [time for seconds in in_bfloat16 + in_float32 for time in (10, 10 + seconds)]
    monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=iter(times).__next__))
    assert bfloat16_is_faster.__wrapped__() is faster


def test_the_trial_computes_gradients_wherever_it_is_asked_for():
    with torch.inference_mode():
        assert bfloat16_is_faster.__wrapped__() in (True, False)
