"""Mixed precision: bf16 where the machine is faster with it."""

from __future__ import annotations

import time
from functools import cache

import torch
from torch import nn


def mixed_precision(device: torch.device, enabled: bool = True) -> torch.autocast:
    """Autocast to bf16 on a machine that is faster with it; elsewhere, or not ``enabled``, float32 stays float32."""
    if device.type == "cuda":
        faster = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        faster = enabled and bfloat16_is_faster()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled and faster)


@cache
def bfloat16_is_faster() -> bool:
    """Whether a step of a convolution on this CPU takes less time in bf16, by trial.

    The instructions alone do not tell: with AVX-512's bf16 but without AMX, some CPUs are slower in bf16.
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
