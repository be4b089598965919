"""The state of training: the network, the moving average of its weights, and the optimizer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from handler.model.network import Network
from train.hardware import Processes
from train.recipe import Recipe


@dataclass
class Learner:
    """A network in training.

    Attributes:
        network: called in each step; with several processes, its gradients are averaged over them.
        core: the network itself, which shares its weights with ``network``.
        average: exponential moving average of ``core``, which is validated and saved.
        optimizer: of ``core``'s parameters.
    """

    network: nn.Module
    core: Network
    average: MovingAverage
    optimizer: torch.optim.Optimizer

    @classmethod
    def create(cls, core: Network, recipe: Recipe, device: torch.device, processes: Processes) -> Learner:
        """Move ``core`` to ``device`` and create its moving average and optimizer."""
        network = processes.wrap(core, device)
        if isinstance(network, nn.parallel.DistributedDataParallel):
            core = network.module
        return cls(network, core, MovingAverage(core, recipe.ema_decay), make_optimizer(core, recipe))

    def state_dict(self) -> dict[str, Any]:
        """The state for :meth:`load_state_dict`, to resume training."""
        return {name: getattr(self, name).state_dict() for name in ("core", "average", "optimizer")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state that :meth:`state_dict` returned."""
        for name, value in state.items():
            getattr(self, name).load_state_dict(value)


class MovingAverage(AveragedModel):
    """Exponential moving average of a network's weights and batch-norm statistics, in evaluation mode.

    ``update_parameters(network)`` is called after each step. The decay of update n is min(``decay``, n / (n + 9)), so
    that the initial weights are soon forgotten (as TensorFlow's ExponentialMovingAverage with num_updates), and integer
    buffers are copied. torch's ``get_ema_multi_avg_fn`` supports neither.
    """

    module: Network

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, use_buffers=True)
        self.decay = decay
        self.eval()
        self.n_averaged += 1

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Update the average. Unlike AveragedModel's, this does not wait for the GPU, as n stays on the CPU."""
        n = int(self.n_averaged)
        pairs = list(zip(self.module.state_dict().values(), model.state_dict().values(), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [c for _, c in floats], 1 - min(self.decay, n / (n + 9)))
        for average, current in pairs:
            if not average.is_floating_point():
                average.copy_(current)
        self.n_averaged += 1


def make_optimizer(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; the new last layer has a higher learning rate, and scales and biases have no weight decay."""
    head = {id(p) for p in network.get_submodule(network.head).parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        groups.setdefault((id(parameter) in head, parameter.ndim > 1), []).append(parameter)
    groups_with_settings = (
        {
            "params": parameters,
            "peak": recipe.head_learning_rate if is_head else recipe.learning_rate,
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (is_head, decays), parameters in groups.items()
    )
    return torch.optim.AdamW(groups_with_settings, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, progress: float, warm_up: float) -> None:
    """Linear warm-up while ``progress`` (0 to 1) is below ``warm_up``, then cosine decay to 0."""
    if progress < warm_up:
        factor = progress / warm_up
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
