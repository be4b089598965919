"""Order and bounds of what runs at once."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from cli.jobs import AHEAD, in_order


@pytest.mark.parametrize("jobs", [1, 3])
def test_results_have_the_order_of_the_items(jobs: int):
    def slow_first(item: int) -> int:
        time.sleep(0.05 if item % 3 == 0 else 0)
        return item * item

    assert list(in_order(slow_first, range(20), jobs)) == [n * n for n in range(20)]


def test_no_more_are_taken_than_are_needed():
    items = itertools.count()
    results = in_order(lambda item: item, items, 4)
    assert [next(results) for _ in range(50)] == list(range(50))
    assert next(items) <= 50 + 4 * AHEAD
    results.close()


def test_as_many_run_at_once_as_were_asked_for():
    barrier = threading.Barrier(3)
    assert len(set(in_order(lambda _: barrier.wait(10), range(3), 3))) == 3


def test_an_error_comes_out_where_its_result_would():
    results = in_order(lambda item: 1 // item, [1, 0, 1], 2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
