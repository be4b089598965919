"""Mixed precision: bf16 where the machine computes with it."""

from __future__ import annotations

import torch


def mixed_precision(device: torch.device, enabled: bool = True) -> torch.autocast:
    """Autocast to bf16 on a machine that computes with it; elsewhere, or not ``enabled``, float32 stays float32."""
    if device.type == "cuda":
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled and supported)
