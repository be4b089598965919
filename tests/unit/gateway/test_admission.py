"""Limits on requests and on their bytes."""

from __future__ import annotations

import pytest

from api.request import ContractError
from gateway.admission import Limiter


def test_slots_are_bounded_and_free_again():
    limiter = Limiter("explanations", 2, 100)
    first, second = limiter.acquire(), limiter.acquire()
    with pytest.raises(ContractError, match="too many explanations") as refusal:
        limiter.acquire()
    assert refusal.value.status == 503
    first.release()
    first.release()  # once is enough
    with limiter.acquire():
        assert limiter.used_slots == 2
    second.release()
    assert limiter.used_slots == limiter.used_bytes == 0


def test_bytes_are_bounded_together_and_free_again():
    limiter = Limiter("photographs", 9, 100)
    with limiter.acquire(60) as slot:
        with pytest.raises(ContractError):
            limiter.acquire(41)
        assert (limiter.used_slots, limiter.used_bytes) == (1, 60), "who is refused takes nothing"
        slot.reserve(30)  # less than it has
        assert limiter.used_bytes == 60
        with limiter.acquire() as other:
            other.reserve(40)
            with pytest.raises(ContractError):
                other.reserve(41)
        slot.reserve(100)
    assert limiter.used_slots == limiter.used_bytes == 0


def test_a_slot_of_another_limiter_is_released_too_and_not_kept_where_the_first_is_full():
    limiter, also = Limiter("explanations", 1, 10), Limiter("explanations with this API key", 2, 10, status=429)
    slot = limiter.acquire(4, also)
    assert (also.used_slots, also.used_bytes) == (1, 4)
    with pytest.raises(ContractError) as full:
        limiter.acquire(1, also)
    assert full.value.status == 503 and (also.used_slots, also.used_bytes) == (1, 4)
    slot.release()
    slot.release()
    assert (limiter.used_slots, limiter.used_bytes, also.used_slots, also.used_bytes) == (0, 0, 0, 0)
    also.acquire()
    also.acquire()
    with pytest.raises(ContractError) as limited:
        limiter.acquire(1, also)
    assert limited.value.status == 429 and limiter.used_slots == 0
