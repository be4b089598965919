"""Explanations, against the lime package and for classifiers whose decisive region is known."""

from __future__ import annotations

import time

import numpy as np
import pytest
from lime.lime_image import LimeImageExplainer
from scipy.ndimage import label

from handler.explain.lime.explainer import (
    ANY_SHARE,
    NEAR_SHARE,
    Budget,
    LimeExplainer,
    design_effect,
    painting,
    supporting_regions,
)
from handler.explain.lime.masks import blocks, confounding
from handler.explain.lime.regions import GREEN, REGIONS, closeness, outline, paint, regions_of, skin_surface


def picture(size: int = 64) -> np.ndarray:
    """Four coloured quarters on skin, with a little noise."""
    rng = np.random.default_rng(0)
    image = np.full((size, size, 3), (210, 170, 150), np.float64)
    half = size // 2
    image[8:half, 8:half] = (120, 60, 40)
    image[8:half, half:-8] = (60, 40, 120)
    image[half:-8, 8:half] = (40, 110, 60)
    image += rng.normal(0, 3, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def darkness_of(rows: slice, columns: slice):
    """A classifier whose probability of class 1 is the darkness of a rectangle."""

    def probabilities(images: np.ndarray) -> np.ndarray:
        dark = 1 - images[:, rows, columns].mean(axis=(1, 2, 3)) / 255
        return np.stack([1 - dark, dark], axis=1)

    return probabilities


def corner_explainer() -> LimeExplainer:
    """For the darkness of the first coloured quarter."""
    return LimeExplainer(painting(darkness_of(slice(8, 32), slice(8, 32))))


def test_perturbed_photographs_equal_those_of_lime(monkeypatch: pytest.MonkeyPatch):
    """Pixel for pixel, from the same masks."""
    image, seen = picture(), []
    segments = regions_of(image)
    hidden = skin_surface(image)
    masks = np.random.default_rng(3).random((41, segments.max() + 1)) < 0.5
    masks[0] = True
    lime = LimeImageExplainer(random_state=3)

    class Replay:
        def randint(self, low, high, size):
            return masks.astype(int).ravel()

    lime.random_state = Replay()
    monkeypatch.setattr("lime.lime_image.tqdm", iter)
    lime.data_labels(image, hidden, segments, lambda x: seen.append(x) or np.zeros((len(x), 2)), 41)
    np.testing.assert_array_equal(paint(image, hidden, segments, masks), np.concatenate(seen))


@pytest.mark.parametrize(("rows", "columns"), [(slice(8, 32), slice(32, 56)), (slice(32, 56), slice(8, 32))])
def test_the_decisive_part_is_outlined(rows: slice, columns: slice):
    explanation = LimeExplainer(painting(darkness_of(rows, columns))).explain(picture(), 1, Budget(400, 1.1))
    regions = supporting_regions(explanation.lime, 1)
    inside = np.zeros(regions.shape, bool)
    inside[rows, columns] = True
    assert (regions & inside).sum() / regions.sum() > 0.8
    assert explanation.r2 > 0.9


@pytest.mark.parametrize("budget", [Budget(400, 1.1), Budget(1024, 0.5)])
def test_the_size_of_batches_changes_no_explanation(budget: Budget):
    small, large = (
        LimeExplainer(painting(darkness_of(slice(8, 32), slice(8, 32))), batch).explain(picture(), 1, budget)
        for batch in (32, 128)
    )
    assert small.samples == large.samples
    np.testing.assert_allclose(small.weights, large.weights, atol=1e-9)


def test_nothing_is_outlined_if_no_region_supports_the_class():
    image = picture()
    explanation = LimeExplainer(painting(lambda x: np.full((len(x), 2), 0.5))).explain(image, 1, Budget(64, 1.1))
    assert not supporting_regions(explanation.lime, 1).any()
    np.testing.assert_array_equal(explanation.overlay, image)


def test_the_explanation_depends_on_the_photograph_alone():
    explainer = corner_explainer()
    first, second = (explainer.explain(picture(), 1, Budget(100, 1.1)) for _ in range(2))
    assert first.lime.local_exp == second.lime.local_exp
    np.testing.assert_array_equal(first.overlay, second.overlay)
    changed = picture()
    changed[0, 0] ^= 1
    assert explainer.explain(changed, 1, Budget(100, 1.1)).lime.local_exp != first.lime.local_exp


def test_a_picture_of_one_colour_can_be_explained():
    image = np.zeros((64, 64, 3), np.uint8)
    explanation = LimeExplainer(painting(darkness_of(slice(0, 32), slice(0, 32)))).explain(image, 1, Budget(64, 1.1))
    assert explanation.overlay.shape == image.shape


def test_regions_are_few_connected_and_numbered_without_gaps():
    for image in (picture(), np.zeros((224, 224, 3), np.uint8), picture(224)):
        segments = regions_of(image)
        assert segments.shape == image.shape[:2]
        assert sorted(np.unique(segments)) == list(range(segments.max() + 1))
        assert 1 <= segments.max() + 1 <= REGIONS
        assert all(label(segments == region)[1] == 1 for region in range(segments.max() + 1))


def test_regions_follow_colour_edges():
    """Each coloured quarter is nearly a union of regions."""
    image = picture(224)
    segments = regions_of(image)
    half = 112
    for rows, columns in ((slice(8, half), slice(8, half)), (slice(half, -8), slice(8, half))):
        inside = np.zeros(segments.shape, bool)
        inside[rows, columns] = True
        share = np.bincount(segments.ravel(), inside.ravel()) / np.bincount(segments.ravel())
        found = (share > 0.5)[segments]
        assert (found & inside).sum() / (found | inside).sum() > 0.9


def test_the_skin_surface_continues_the_shading_of_the_skin():
    """Under a lesion that reaches the border, hair and noise."""
    y, x = np.mgrid[:96, :96] / 48 - 1
    shading = np.stack([210 - 20 * x * x, 170 + 15 * y, 150 - 10 * x * y], axis=-1)
    square = shading + np.random.default_rng(0).normal(0, 3, shading.shape)
    square[30:70, :60] = (110, 60, 40)
    square[:, 80:82] = 30
    surface = skin_surface(square.clip(0, 255).astype(np.uint8))
    assert surface.shape == square.shape and surface.dtype == np.uint8
    assert np.abs(surface - shading).mean() < 2 and np.abs(surface - shading).max() < 12


def test_the_outline_is_closed_at_the_edge_of_the_picture():
    mask = np.zeros((20, 20), bool)
    mask[:5, :5] = True
    drawn = (outline(np.zeros((20, 20, 3), np.uint8), mask) == GREEN).all(axis=2)
    assert drawn[0, :5].all() and drawn[:5, 0].all() and drawn[4, :5].all()
    assert not drawn[2, 2] and not drawn[10:, 10:].any()


def unsteady(images: np.ndarray) -> np.ndarray:
    """Darkness of nearly the whole picture, with noise that no region explains."""
    noise = np.random.default_rng(int(images.sum())).normal(0, 0.5, (len(images), 1))
    return darkness_of(slice(8, 56), slice(8, 56))(images) + noise * [1, -1]


def test_sampling_stops_when_the_ranking_is_stable():
    explainer = LimeExplainer(painting(unsteady))
    careful, hasty = (explainer.explain(picture(), 1, Budget(4096, target)) for target in (0.99, 0.5))
    assert hasty.stopped == "settled" and hasty.samples < careful.samples <= 4096
    assert careful.stability >= 0.99 or careful.stopped == "budget"
    assert hasty.stability >= 0.5 and hasty.samples >= 128


def test_sampling_stops_between_the_least_and_the_largest_number():
    explainer = corner_explainer()
    assert explainer.explain(picture(), 1, Budget(1024, 0.5)).samples == 128
    explanation = explainer.explain(picture(), 1, Budget(1024, 0.5, least=512))
    assert (explanation.samples, explanation.stopped) == (512, "settled")
    explanation = explainer.explain(picture(), 1, Budget(300, 1.1))
    assert (explanation.samples, explanation.stopped) == (300, "budget")


def test_the_design_effect_is_that_of_the_interactions_left_in_the_errors():
    """One for coins, a little for a design without confounding, more where distant regions are confounded."""
    rng, close = np.random.default_rng(0), closeness(np.arange(64 * 64).reshape(64, 64) // 256)
    coins = np.repeat(rng.random((4096, 16)) < 0.5, 2, axis=0)
    coins[1::2] ^= True
    assert design_effect(coins, close).mean() == pytest.approx(1, abs=0.1)
    design = next(blocks(16, rng, 1024, close))
    assert design_effect(design, close).max() == pytest.approx(1 - NEAR_SHARE - ANY_SHARE)
    few = design[:256]
    assert confounding(few, close).mean() < design_effect(few, close).mean() < confounding(few).mean()


def test_a_time_limit_gives_the_best_result_so_far():
    def slow(images: np.ndarray) -> np.ndarray:
        time.sleep(0.05)
        return darkness_of(slice(8, 32), slice(8, 32))(images)

    for budget in (Budget(100_000, 1.1), Budget(100_000, 0.0, least=2048)):
        explanation = LimeExplainer(painting(slow)).explain(picture(), 1, budget, seconds=0.5)
        assert explanation.stopped == "deadline" and 32 <= explanation.samples < 1000
        assert explanation.seconds < 2 and supporting_regions(explanation.lime, 1).any()


def test_progress_is_reported_and_can_end_the_explanation():
    reported: list[float] = []
    explainer = corner_explainer()
    explainer.explain(picture(), 1, Budget(200, 1.1), progress=reported.append)
    assert reported == sorted(reported) and reported[0] == 32 / 200 and reported[-1] == 1

    class Interrupted(Exception):
        pass

    def interrupt(share: float) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        explainer.explain(picture(), 1, Budget(200, 1.1), progress=interrupt)
