"""The interface of explanation methods; :mod:`handler.explain.lime` implements it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from api.answer import StopReason
from api.request import Precision

Progress = Callable[[float], None]
"""Called with the share of the work that is done, 0 to 1. An exception that it raises ends the explanation."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The contribution of a photograph's regions to one class. Values that a method does not provide are None.

    Attributes:
        overlay: ``uint8`` (H, W, 3), the photograph with the regions that support the class outlined in green.
        segments: the number of each pixel's region, integers (H, W) from 0 to 255.
        weights: (regions,), the increase of the class's log-odds when a region is shown.
        standard_errors: (regions,), of the weights, due to sampling.
        samples: perturbed photographs that were classified.
        seconds: wall-clock time.
        r2: coefficient of determination of the weights as a linear model of the log-odds.
        r2_with_pairs: the same with interactions of pairs of regions, on samples left out.
        completeness: sum of the weights over the change of the log-odds from a photograph with every region hidden to
            the whole one.
        stability: expected Jaccard index, 0 to 1, of the strongest regions with those of another run.
        target: the stability that the precision asks for.
        stopped: why sampling ended.
        pairs: the strongest interactions in descending order, as (region, region, interaction): what both regions add
            to the log-odds together beyond the sum of their separate effects.
    """

    overlay: np.ndarray
    segments: np.ndarray
    weights: np.ndarray
    standard_errors: np.ndarray | None = None
    samples: int
    seconds: float
    r2: float | None = None
    r2_with_pairs: float | None = None
    completeness: float | None = None
    stability: float | None = None
    target: float | None = None
    stopped: StopReason | None = None
    pairs: Sequence[tuple[int, int, float]] = ()


class Explainer(Protocol):
    """A method of explanation."""

    def explain(
        self,
        square: np.ndarray,
        label: int,
        precision: Precision,
        progress: Progress | None = None,
        seconds: float | None = None,
    ) -> Explanation:
        """Explain a class of a photograph.

        Args:
            square: the photograph, ``uint8`` (224, 224, 3).
            label: index of the class.
            precision: determines the number of samples and the target stability.
            progress: called about once a second or more often, as it also cancels the explanation.
            seconds: time limit, after which the best explanation so far is returned.
        """
