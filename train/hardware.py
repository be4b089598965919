"""Hardware of a run: processes, devices, and bf16 where it is faster."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from functools import cache
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import nn

from api.arguments import UsageError

ERROR_SECONDS = 10.0
"""Seconds that another process leaves the main one for its error message."""


@dataclass(frozen=True)
class Processes:
    """This process among all processes of the run: a single one, or several started by ``torchrun``.

    Attributes:
        rank: number of this process; 0 is the main one, which validates, writes files and prints.
        local_rank: its number on this machine, which is the number of its GPU.
        world_size: how many processes there are. Each trains on its share of every batch.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @classmethod
    def from_environment(cls) -> Processes:
        """From ``torchrun``'s environment variables; a single process without them."""
        return cls(
            rank=int(os.environ.get("RANK", 0)),
            local_rank=int(os.environ.get("LOCAL_RANK", 0)),
            world_size=int(os.environ.get("WORLD_SIZE", 1)),
        )

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def device(self, name: str | None) -> torch.device:
        """The device ``name``, by default this process's GPU, or the CPU if there is none.

        Raises:
            UsageError: the device does not exist or cannot be used.
        """
        try:
            device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
            if device.type == "cuda" and device.index is None:
                device = torch.device("cuda", self.local_rank)
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            text = str(error).partition("\n")[0]
            reason = "give cpu or cuda" if text.startswith("Expected one of") else text  # a dozen names
            raise UsageError(f"--device {name} cannot be used ({reason})") from None
        return device

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Move ``network`` to ``device``; with several processes, average its gradients over all of them.

        The backend is gloo on CPUs and NCCL on GPUs, where batch norm is synchronised as well.
        """
        network = network.to(device).to(memory_format=torch.channels_last)
        if device.type == "cuda":
            torch.cuda.set_device(device)
            torch.backends.cudnn.benchmark = True
        if self.world_size == 1:
            return network
        if device.type == "cpu":
            # torchrun gives each process one thread unless told otherwise: share the cores instead.
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // self.world_size))
            dist.init_process_group("gloo")
            return nn.parallel.DistributedDataParallel(network)
        dist.init_process_group("nccl", device_id=device)
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return nn.parallel.DistributedDataParallel(network, device_ids=[device.index])

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """``values`` summed over all processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def close(self) -> None:
        """Destroy the process group, if there is one."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def exit(self, code: int) -> NoReturn:
        """Exit this process. One of several skips Python's shutdown, which can crash in gloo's threads."""
        if self.world_size == 1:
            sys.exit(code)
        sys.stdout.flush()
        sys.stderr.flush()
        if code and not self.is_main:
            # torchrun ends all processes when one fails, and the main one may not have printed the error yet.
            time.sleep(ERROR_SECONDS)
        os._exit(code)


def autocast(device: torch.device, enabled: bool = True) -> torch.autocast:
    """Autocast to bf16 if ``enabled`` and faster on this machine; otherwise a no-op."""
    if device.type == "cuda":
        faster = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        faster = enabled and bfloat16_is_faster()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled and faster)


@cache
def bfloat16_is_faster() -> bool:
    """Whether a training step of a convolution is faster in bf16 on this CPU, by measurement.

    Hardware support alone is not sufficient: some CPUs with AVX-512's bf16 but without AMX are slower in bf16.
    """
    with torch.inference_mode(False), torch.enable_grad():
        convolution = nn.Conv2d(64, 64, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
        pixels = torch.rand(16, 64, 28, 28).contiguous(memory_format=torch.channels_last).requires_grad_()

        def seconds(in_bfloat16: bool) -> float:
            times = []
            for _ in range(6):
                started = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, in_bfloat16):
                    convolution(pixels).float().sum().backward()
                times.append(time.perf_counter() - started)
            return min(times)

        return seconds(True) < seconds(False)
