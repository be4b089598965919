"""A figure with its interval, as JSON files hold it."""

from __future__ import annotations

import math

from msgspec import Struct

from evaluate.bootstrap import Estimate


class Figure(Struct, frozen=True):
    """A figure and the ends of its interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


def figure_of(estimate: Estimate, index: int | tuple[int, ...] = ()) -> Figure:
    """The figure at ``index`` of an estimate."""
    return Figure(*(number(values[index]) for values in estimate))


def number(value: float) -> float | None:
    """Six decimals: more than any set of images can resolve, fewer than two processors may differ in."""
    return None if math.isnan(value) else round(float(value), 6)
