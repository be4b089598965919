"""What a training step changes: the network, the moving average of its weights, and the optimizer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torchvision.models import ResNet

from train.processes import Processes
from train.recipe import Recipe


@dataclass
class Learner:
    """A network in training.

    Attributes:
        network: what is called in a step; several processes share the gradients of its backward pass.
        core: the ResNet itself, the same weights as ``network``.
        average: exponential moving average of ``core``; this is what is validated and kept.
        optimizer: of ``core``'s parameters.
    """

    network: nn.Module
    core: ResNet
    average: AveragedModel
    optimizer: torch.optim.Optimizer

    @classmethod
    def create(cls, core: ResNet, recipe: Recipe, device: torch.device, processes: Processes) -> Learner:
        """Move ``core`` to ``device`` and make all that training it needs."""
        network = processes.wrap(core, device)
        if isinstance(network, nn.parallel.DistributedDataParallel):
            core = network.module
        return cls(network, core, moving_average(core, recipe.ema_decay), make_optimizer(core, recipe))

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to go on with training."""
        return {name: getattr(self, name).state_dict() for name in ("core", "average", "optimizer")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that :meth:`state_dict` returned."""
        for name, value in state.items():
            getattr(self, name).load_state_dict(value)


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of a network's weights and batch-norm statistics, in evaluation mode.

    It starts as ``network`` is now; ``update_parameters(network)`` follows each step. Update n weighs the average by
    min(``decay``, n / (n + 9)), so that the untrained start is soon forgotten (TensorFlow's ExponentialMovingAverage
    with num_updates). Integer buffers are copied.
    """

    @torch.no_grad()
    def update(average: Any, current: Any, updates: torch.Tensor | int) -> None:
        """Update tensors of one device and dtype in place."""
        if average[0].is_floating_point():
            n = int(updates)
            torch._foreach_lerp_(average, current, 1 - min(decay, n / (n + 9)))
        else:
            torch._foreach_copy_(average, current)

    averaged = AveragedModel(network, multi_avg_fn=update, use_buffers=True).eval()
    averaged.update_parameters(network)  # the first call copies, so n starts at 1 after it
    return averaged


def make_optimizer(network: ResNet, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; the fresh head learns faster, and scales and biases do not decay."""
    head = {id(p) for p in network.fc.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        groups.setdefault((id(parameter) in head, parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        {
            "params": parameters,
            "peak": recipe.head_learning_rate if is_head else recipe.learning_rate,
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (is_head, decays), parameters in groups.items()
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, total: int, warm_up: float) -> None:
    """Linear warm-up over the share ``warm_up`` of ``total`` steps, then half a cosine down to zero."""
    warm_up_steps = max(1, round(warm_up * total))
    if step < warm_up_steps:
        factor = (step + 1) / warm_up_steps
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (step - warm_up_steps) / max(1, total - warm_up_steps)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
