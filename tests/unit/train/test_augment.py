"""Random views: what they change, and how far."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from train.augment import Augmentation, mixup, random_views


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def photographs(count: int, side: int = 64) -> torch.Tensor:
    return torch.from_numpy(generator(2).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


NO_CHANGE = {
    "crop_area": (1.0, 1.0),
    "crop_ratio": 1.0,
    "rotation": 0.0,
    "lighting": 0.0,
    "colour_cast": 0.0,
    "erase_probability": 0.0,
}


def only(*names: str) -> Augmentation:
    """The default augmentation without any change but those named."""
    return Augmentation(**{name: value for name, value in NO_CHANGE.items() if name not in names})


@pytest.mark.parametrize("side, size", [(64, 32), (50, 50), (1, 8)])
def test_random_views_are_squares_of_pixels(side, size):
    views = random_views(photographs(5, side), size, Augmentation(), generator())
    assert views.shape == (5, 3, size, size) and views.dtype == torch.float32
    assert views.min() >= 0 and views.max() <= 255 and torch.isfinite(views).all()


def test_random_views_depend_on_the_generator_alone_and_do_not_change_the_photographs():
    pixels = photographs(4)
    first, again, other = (random_views(pixels, 32, Augmentation(), generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other) and torch.equal(pixels, photographs(4))


def test_without_other_changes_a_view_is_one_of_the_eight_symmetries():
    pixels = photographs(60, 32)
    views = random_views(pixels, 32, only(), generator())
    seen = Counter()
    for photograph, view in zip(pixels.permute(0, 3, 1, 2).float(), views, strict=True):
        turns = [torch.rot90(p, k, (1, 2)) for p in (photograph, photograph.flip(2)) for k in range(4)]
        gaps = [(turn - view).abs().max().item() for turn in turns]
        assert min(gaps) < 0.01
        seen[int(np.argmin(gaps))] += 1
    assert len(seen) == 8


def test_crops_have_the_configured_area_and_ratio():
    side = 4 * torch.arange(64.0)
    ramp = torch.stack([side.expand(64, 64), side[:, None].expand(64, 64), torch.zeros(64, 64)], 2).byte()
    views = random_views(ramp.expand(400, -1, -1, -1), 64, only("crop_area", "crop_ratio"), generator())
    low, high = views.amin((2, 3)), views.amax((2, 3))
    extent = (high - low)[:, :2] / 254
    share = extent.prod(1)
    assert 0.37 < share.min() < 0.45 and 0.9 < share.max() <= 1
    assert 1.15 < (extent[:, 0] / extent[:, 1]).max() < 1.3
    assert (low[:, :2] < 5).any() and (low[:, :2] > 60).any()  # anywhere in the photograph


def test_no_pixel_of_a_large_photograph_is_skipped():
    columns = torch.zeros(2, 128, 128, 3, dtype=torch.uint8)
    columns[:, :, ::4] = 200  # bilinear sampling at every fourth place would see none of them
    views = random_views(columns, 32, only(), generator())
    torch.testing.assert_close(views, torch.full_like(views, 50))


def test_rotation_fills_corners_with_reflections():
    views = random_views(torch.full((50, 32, 32, 3), 200, dtype=torch.uint8), 32, only("rotation"), generator())
    torch.testing.assert_close(views, torch.full_like(views, 200))


def test_brightness_changes_by_up_to_a_quarter_and_channels_by_up_to_6_percent_separately():
    grey = torch.full((300, 8, 8, 3), 100, dtype=torch.uint8)
    levels = random_views(grey, 8, only("lighting"), generator()).mean((1, 2, 3))
    assert 74.9 < levels.min() < 78 and 122 < levels.max() < 125.1
    levels = random_views(grey, 8, only("colour_cast"), generator()).mean((2, 3))
    assert 93.9 < levels.min() < 95 and 105 < levels.max() < 106.1
    assert (levels.amax(1) - levels.amin(1)).max() > 8


def test_a_rectangle_is_erased_in_the_configured_share_of_views():
    views = random_views(photographs(500, 64), 64, only("erase_probability"), generator())
    whole = photographs(500, 64).permute(0, 3, 1, 2).float().mean((2, 3), keepdim=True)
    hidden = ((views - whole).abs() < 1e-2).all(1)
    share = hidden.float().mean((1, 2))
    assert 0.33 < (share > 0.01).float().mean() < 0.47
    assert share[share > 0.01].min() > 0.015 and 0.17 < share.max() < 0.22
    first = hidden[share.argmax()]
    rows, columns = first.any(1), first.any(0)
    assert first[rows][:, columns].all()  # it is a rectangle


def test_mixup_blends_views_and_targets_alike_in_half_of_the_batches():
    views = torch.arange(8.0)[:, None, None, None].expand(8, 3, 4, 4)
    targets = torch.eye(8)
    mixed = 0
    for seed in range(400):
        pictures, labels = mixup(views, targets, Augmentation(), generator(seed))
        torch.testing.assert_close(labels.sum(1), torch.ones(8))
        torch.testing.assert_close(labels.sum(0), torch.ones(8), msg="each photograph is a partner once")
        torch.testing.assert_close(labels @ torch.arange(8.0), pictures[:, 0, 0, 0], rtol=0, atol=1e-5)
        mixed += not torch.equal(pictures, views)
    assert 160 < mixed < 240
