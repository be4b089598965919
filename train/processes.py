"""One process alone, or several that ``torchrun`` started, each training on its part of every batch."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import nn

from train.weights import SetupError


@dataclass(frozen=True)
class Processes:
    """This process among its ``count`` fellows. ``lead`` (rank 0) validates, writes and talks for all."""

    rank: int = 0
    local: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls) -> Processes:
        """What ``torchrun`` says in the environment; one process alone without it."""
        return cls(*(int(os.environ.get(name, default)) for name, default in _VARIABLES.items()))

    @property
    def lead(self) -> bool:
        return self.rank == 0

    def device(self, name: str | None) -> torch.device:
        """The device of that name, tried out; without one, this process's GPU where there is one.

        Raises:
            SetupError: there is no such device.
        """
        try:
            device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
            if device.type == "cuda" and device.index is None:
                device = torch.device("cuda", self.local)
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise SetupError(f"--device {name} cannot be used ({str(error).splitlines()[0]})") from None
        return device

    def join(self, network: nn.Module, device: torch.device) -> nn.Module:
        """``network`` on ``device``, its gradients averaged over all processes (gloo on a CPU, NCCL on GPUs)."""
        network = network.to(device, memory_format=torch.channels_last)
        if device.type == "cuda":
            torch.cuda.set_device(device)
            torch.backends.cudnn.benchmark = True
        if self.count == 1:
            return network
        if device.type == "cpu":
            # torchrun gives each process one thread unless told otherwise: share the cores instead.
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // self.count))
            dist.init_process_group("gloo")
            return nn.parallel.DistributedDataParallel(network)
        dist.init_process_group("nccl", device_id=device)
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return nn.parallel.DistributedDataParallel(network, device_ids=[device.index])

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """``values`` summed over all processes."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def leave(self) -> None:
        """End the processes' talk. Harmless where there was none."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def exit(self, code: int) -> NoReturn:
        """End this process. One of several ends at once: Python's own shutdown can trip over gloo's threads."""
        if self.count == 1:
            sys.exit(code)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


_VARIABLES = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1}
