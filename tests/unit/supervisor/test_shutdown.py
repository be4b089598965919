"""Graceful shutdown."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from supervisor.shutdown import SIGNALS, Stopped, StopSignal


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    before = [signal.getsignal(number) for number in SIGNALS]
    made = StopSignal()
    made.listen()
    yield made
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


def test_without_a_signal_there_is_the_result_or_the_error_of_the_work(stop: StopSignal):
    async def work(divisor: int) -> float:
        return 5 / divisor

    assert asyncio.run(stop.unless_stopped(work(1))) == 5
    with pytest.raises(ZeroDivisionError):
        asyncio.run(stop.unless_stopped(work(0)))


def test_the_first_signal_cancels_the_work_and_others_do_not_interrupt_its_end(stop: StopSignal):
    done = []

    async def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(10)
        finally:
            for number in SIGNALS:
                signal.raise_signal(number)
                await asyncio.sleep(0)
            done.append("all")

    with pytest.raises(Stopped) as stopped:
        asyncio.run(stop.unless_stopped(work()))
    assert stopped.value.signal == signal.SIGTERM and done == ["all"]
    signal.raise_signal(signal.SIGHUP)  # the loop is closed


def test_a_signal_before_the_loop_counts(stop: StopSignal):
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(Stopped):
        asyncio.run(stop.unless_stopped(asyncio.sleep(10)))
