"""Deadlines that another process understands."""

from __future__ import annotations

import time

import pytest

from api import deadline
from api.deadline import Deadline


def test_on_one_machine_the_time_on_the_way_counts():
    header = Deadline.after(0.2).to_header()
    time.sleep(0.15)
    assert Deadline.from_header(header).left() < 0.06
    time.sleep(0.06)
    assert Deadline.from_header(header).left() == 0


def test_on_another_machine_the_seconds_count_from_their_arrival(monkeypatch: pytest.MonkeyPatch):
    header = Deadline.after(5).to_header()
    monkeypatch.setattr(deadline, "MACHINE", "another")
    monkeypatch.setattr(time, "monotonic", lambda: 1e6)
    assert Deadline.from_header(header).left() == pytest.approx(5, abs=0.01)


def test_no_clock_makes_it_later_than_was_said():
    assert Deadline.from_header(f"5 999999999 {deadline.MACHINE}").left() <= 5


def test_a_person_may_write_seconds():
    assert 2.4 < Deadline.from_header("2.5").left() <= 2.5


@pytest.mark.parametrize("text", ["", "x", "-1", "1e9", "nan", "1 2", "1795572608.123", "5 5 " + "x" * 101])
def test_what_is_not_understood_is_none(text: str):
    assert Deadline.from_header(text) is None


def test_a_clock_that_is_set_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    header = Deadline.after(5).to_header()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 4 < Deadline.from_header(header).left() <= 5
