"""The metrics of benchmarks/explain.py, for explanations of known quality."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import ROOT

try:
    from benchmarks import explanation_metrics as metrics
    from benchmarks import method
    from benchmarks.explain import FAITHFULNESS, differences
    from benchmarks.explainers import Explained, captum, lime, ours, recorded
    from benchmarks.method import VARIANTS
except ImportError as error:  # OpenCV, a dependency of Quantus, needs libGL
    if os.environ.get("CI") == "true":
        raise
    pytest.skip(f"Quantus cannot be imported ({error}): apt-get install libgl1", allow_module_level=True)

from handler.explain.lime.explainer import Budget, painting
from handler.explain.lime.regions import skin_surface

SIDE = 56
LESION = (slice(7, 28), slice(7, 28))


def picture() -> np.ndarray:
    image = np.full((SIDE, SIDE, 3), 200, np.uint8)
    image[LESION] = (90, 50, 40)
    return image


def lesion() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[LESION] = True
    return mask


def darkness(images: np.ndarray) -> np.ndarray:
    """A classifier whose probability of class 1 is the darkness of the lesion's rectangle."""
    dark = np.clip(1.1 - images[:, *LESION].mean(axis=(1, 2, 3)) / 200, 0.01, 0.99)
    return np.stack([1 - dark, dark], axis=1).astype(np.float32)


def explained(weights: list[float]) -> Explained:
    """Weights of the lesion's upper half, its lower half and the skin."""
    segments = np.full((SIDE, SIDE), 2)
    segments[7:17, 7:28], segments[17:28, 7:28] = 0, 1
    return Explained(np.array(weights), segments, 0, 0.0)


RIGHT, WRONG = explained([1, 0.9, -0.5]), explained([-1, -0.9, 0.5])


@pytest.mark.parametrize("remove", [metrics.without_details, skin_surface])
def test_the_right_explanation_has_better_deletion_and_insertion(remove: Callable[[np.ndarray], np.ndarray]):
    removed = remove(picture())
    for_right = metrics.deletion_and_insertion(darkness, picture(), removed, 1, RIGHT)
    for_wrong = metrics.deletion_and_insertion(darkness, picture(), removed, 1, WRONG)
    assert for_right[0] < for_wrong[0] - 0.2 and for_right[1] > for_wrong[1] + 0.2
    assert all(0 <= value <= 1 for value in for_right + for_wrong)


def test_overlap_is_the_share_of_positive_weight_on_the_lesion():
    assert metrics.overlap(RIGHT, lesion()) == pytest.approx(1)
    assert metrics.overlap(WRONG, lesion()) == pytest.approx(0)
    inside, outside = 21 * 21, SIDE**2 - 21 * 21
    assert metrics.overlap(explained([1, 1, 0.5]), lesion()) == pytest.approx(inside / (inside + outside / 2))
    assert np.isnan(metrics.overlap(explained([-1, 0, -1]), lesion()))


def test_jaccard_and_distance():
    assert metrics.jaccard([RIGHT, RIGHT]) == 1 and metrics.jaccard([RIGHT, WRONG]) == 0
    assert metrics.jaccard([RIGHT, explained([1, -1, 0])]) == 0.5
    assert metrics.distance(RIGHT, RIGHT) == 0 and metrics.distance(WRONG, RIGHT) == pytest.approx(2)


def test_spread_estimates_the_distance_to_the_truth():
    rng, truth = np.random.default_rng(0), np.array([1.0, -2.0, 0.5, 3.0])
    runs = [explained((truth + 0.1 * rng.standard_normal(4)).tolist()) for _ in range(400)]
    distances = [metrics.distance(run, explained(truth.tolist())) for run in runs]
    spreads = [metrics.spread([one, other]) for one, other in zip(runs[::2], runs[1::2], strict=True)]
    assert np.mean(spreads) == pytest.approx(np.mean(distances), rel=0.1)


def test_recorded_answers_are_the_samplers_own_and_asked_for_once():
    asked: list[int] = []

    def counting(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return darkness(images)

    sampler = recorded(painting(counting))
    first, again, plain = (ours(s, picture(), 1, Budget(128, 2), 0) for s in (sampler, sampler, painting(darkness)))
    assert sum(asked) == 128 + 2, "the masks, the whole photograph and the hidden one"
    assert (first.weights == again.weights).all() and (first.weights == plain.weights).all()


@pytest.mark.parametrize(
    "explain",
    [
        lambda: lime(darkness, picture(), 1, 200, 0),
        lambda: captum(darkness, picture(), 0, 200, 0),
        lambda: ours(painting(darkness), picture(), 1, Budget(256, 0.9), 0),
    ],
    ids=["lime", "captum", "ours"],
)
def test_every_explainer_finds_the_lesion(explain):
    """Captum hides regions in black, so there the lesion supports class 0, brightness."""
    result = explain()
    assert result.pixels().shape == (SIDE, SIDE) and result.seconds > 0 and result.samples >= 128
    assert metrics.overlap(result, lesion()) > 0.6


def test_explanations_of_random_weights_are_uncorrelated():
    """The correlation with an explanation of the network itself would be 1."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3 * 64, 2, bias=False)
            weights = torch.zeros(2, 3, 8, 8)
            weights[0, :, 1:4, 1:4], weights[1, :, 1:4, 1:4] = 0.1, -0.1
            self.layer.weight.data = weights.flatten(1)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.layer(nn.functional.avg_pool2d(pixels, 7).flatten(1) / 255).softmax(1)

    def explain(probabilities, square: np.ndarray, label: int) -> Explained:
        return ours(painting(probabilities), square, label, Budget(128, 2), 0)

    scores = metrics.randomised_weights(Network(), picture()[None], np.array([1]), explain)
    assert len(scores) == 1 and abs(scores[0]) < 0.8


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_can_be_measured(name: str):
    class Stub:
        probabilities = sample_probabilities = staticmethod(darkness)

    figures = method.measure(Stub(), VARIANTS[name], picture(), lesion(), 512)
    known = dict(zip(method.FIGURES, np.isfinite(figures), strict=True))
    without_complements = ("independent coins", "four of five regions shown", "all of lime's")
    assert known.pop("R² with pairs") == (name not in without_complements)
    assert all(known.values())


def test_differences_are_taken_photograph_by_photograph():
    lime = [dict.fromkeys(FAITHFULNESS, value) for value in (0.2, 0.9, 0.5)]
    mine = [dict.fromkeys(FAITHFULNESS, value) for value in (0.3, 1.0)]
    found = differences(mine, lime)
    assert list(found) == list(FAITHFULNESS)
    for mean, low, high in found.values():
        assert (mean, low, high) == pytest.approx((0.1, 0.1, 0.1))


def test_the_documents_quote_the_committed_figures():
    figures = json.loads((ROOT / "benchmarks/explain.json").read_text())
    quoted = (ROOT / "docs/explanations.md").read_text()
    for key in ("jaccard", "distance", "deletion", "overlap"):
        for method in ("lime", "Faible", "Moyenne", "Importante"):
            assert f"{figures['quality'][method][key]:.3f}" in quoted, (method, key)
    for key in ("r2_with_pairs", "worst_r2_with_pairs"):
        for row in (figures["quality"]["Faible"], figures["quality"]["Moyenne"], figures["by samples"]["1024"]):
            assert f"{row[key]:.3f}" in quoted, key
