"""Limits on requests and on their bytes."""

from __future__ import annotations

import pytest

from api.request import ContractError
from gateway.admission import Limiter


def test_slots_are_bounded_and_free_again():
    limiter = Limiter("explanations", 1, 100)
    with limiter.slot():
        with pytest.raises(ContractError, match="too many explanations") as refusal, limiter.slot():
            pass
        assert refusal.value.status == 503
    with limiter.slot():
        assert limiter.used_slots == 1
    assert limiter.used_slots == limiter.used_bytes == 0


def test_bytes_are_bounded_together_and_free_again():
    limiter = Limiter("photographs", 9, 100)
    with limiter.slot(60) as slot:
        with pytest.raises(ContractError), limiter.slot(41):
            pass
        assert (limiter.used_slots, limiter.used_bytes) == (1, 60), "a refused request takes nothing"
        slot.reserve(30)  # less than it has
        assert limiter.used_bytes == 60
        with limiter.slot() as other:
            other.reserve(40)
            with pytest.raises(ContractError):
                other.reserve(41)
        slot.reserve(100)
    assert limiter.used_slots == limiter.used_bytes == 0
