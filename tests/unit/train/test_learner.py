"""The moving average, the optimizer and the learning rate."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from handler.model.network import Network
from train.hardware import Processes
from train.learner import Learner, MovingAverage, make_optimizer, set_learning_rate
from train.recipe import Recipe

CPU = torch.device("cpu")


def test_the_average_follows_weights_and_statistics_ever_more_slowly_and_copies_counters():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    average = MovingAverage(network, decay=0.5)
    assert not average.training and not average.module[1].training
    expected = copy.deepcopy(network.state_dict())
    generator = torch.Generator().manual_seed(0)
    for step in range(20):  # 0.5 is reached at step 8
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        network(torch.randn(2, 3, 8, 8, generator=generator))  # changes the statistics, and the integer counter
        average.update_parameters(network)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * value
            else:
                expected[name] = value.clone()
    averaged = average.module.state_dict()
    assert averaged["1.num_batches_tracked"] == 20
    for name, value in expected.items():
        torch.testing.assert_close(averaged[name], value, rtol=1e-5, atol=1e-6, msg=name)
    assert not torch.equal(averaged["1.running_mean"], network[1].running_mean)


def test_a_learner_resumes_from_a_saved_state(tmp_path):
    def step(learner: Learner) -> None:
        set_learning_rate(learner.optimizer, 0.2, 0.06)
        learner.network(torch.ones(2, 3, 32, 32)).square().sum().backward()
        learner.optimizer.step()
        learner.average.update_parameters(learner.core)

    first, second = (Learner.create(Network(7), Recipe(), CPU, Processes()) for _ in range(2))
    step(first)
    torch.save(first.state_dict(), tmp_path / "state.pth")
    second.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    for learner in (first, second):
        learner.optimizer.zero_grad()
        step(learner)
    for part in ("core", "average"):
        expected, resumed = getattr(first, part).state_dict(), getattr(second, part).state_dict()
        for name, value in expected.items():
            torch.testing.assert_close(resumed[name], value, msg=name)
    assert second.average.n_averaged == 3


def test_the_learning_rate_rises_then_falls_to_zero_and_only_matrices_decay():
    recipe = Recipe()
    optimizer = make_optimizer(Network(7), recipe)
    peaks = {group["peak"] for group in optimizer.param_groups}
    assert peaks == {recipe.learning_rate, recipe.head_learning_rate}
    for group in optimizer.param_groups:
        assert {parameter.ndim > 1 for parameter in group["params"]} == {group["weight_decay"] > 0}
    rates = []
    for step in range(200):
        set_learning_rate(optimizer, (step + 1) / 200, recipe.warm_up)
        rates.append(optimizer.param_groups[0]["lr"] / optimizer.param_groups[0]["peak"])
    top = int(np.argmax(rates))
    assert 5 < top < 20 and rates[top] == pytest.approx(1)
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[0] < 0.1 and rates[-1] == 0
