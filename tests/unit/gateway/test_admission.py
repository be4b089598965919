"""Limits on requests and on their bytes."""

from __future__ import annotations

import pytest

from api.request import ContractError
from gateway.admission import Addresses, Limiter
from gateway.settings import Settings


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


def test_addresses_are_limited_but_not_this_machine_and_trusted_proxies():
    addresses = Addresses(Settings(trusted_proxies="10.1.0.0/16, 2001:db8:1::7"))
    exempt = ("127.0.0.1", "127.8.8.8", "::1", "10.1.2.3", "2001:db8:1::7", "")
    assert not any(map(addresses.group, exempt))
    with addresses.limiter("192.0.2.1").slot():
        assert addresses.limiter("192.0.2.1").used_slots == 1
        assert addresses.limiter("192.0.2.2").used_slots == 0
    assert addresses.limiter("192.0.2.1").used_slots == 0
    assert addresses.group("2001:db8:2::1") == addresses.group("2001:db8:2::2") != addresses.group("2001:db8:3::1")
