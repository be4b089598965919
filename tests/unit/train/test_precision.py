"""bf16 where the machine computes with it."""

from __future__ import annotations

import pytest
import torch

from train.precision import mixed_precision


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("supported", [True, False])
def test_bf16_is_used_where_it_is_supported_and_enabled(monkeypatch, supported, enabled):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    with mixed_precision(torch.device("cpu"), enabled=enabled):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if supported and enabled else torch.float32)
