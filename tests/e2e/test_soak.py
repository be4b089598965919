"""A short soak of the shared service; ``benchmarks/soak.py`` does minutes or hours."""

from __future__ import annotations

import psutil
import pytest

from benchmarks.soak import soak
from tests.e2e.conftest import Service

pytestmark = pytest.mark.slow


def test_the_service_does_not_grow(service: Service):
    growth, statuses = soak(service.url, psutil.Process(service.process.pid), 10)
    print(growth, statuses)
    assert {g.name for g in growth} == {"supervisor", "gateway", "TorchServe", "worker 1", "worker 2"}
    assert not [g for g in growth if g.excessive]
    assert statuses["200"] and statuses["400"] and not statuses["500"]
