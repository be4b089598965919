"""Simulated cameras: which changes there are, how far they go, and that one seed gives one result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from train.augment import Augmentation, random_views
from train.cameras import Cameras, simulate_cameras

SAME = Cameras(
    gamma=0, white_balance=0, blur_probability=0, enlarge_probability=0, noise_probability=0, jpeg_probability=0
)


@pytest.fixture
def views() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(8, 3, 64, 64, generator=generator) * 200 + 20


def changed(views: torch.Tensor, **cameras) -> torch.Tensor:
    return simulate_cameras(views.clone(), replace(SAME, **cameras), np.random.default_rng(0))


@pytest.mark.parametrize(
    "cameras",
    [{"gamma": 0.35}, {"white_balance": 0.15}]
    + [{f"{change}_probability": 1.0} for change in ("blur", "enlarge", "noise", "jpeg")],
    ids=lambda cameras: next(iter(cameras)),
)
def test_each_change_alters_pixels_within_range_and_by_the_seed_alone(views: torch.Tensor, cameras: dict):
    torch.testing.assert_close(changed(views), views, rtol=0, atol=1e-3)
    first, again = changed(views, **cameras), changed(views, **cameras)
    assert first.shape == views.shape and first.min() >= 0 and first.max() <= 255
    assert (first - views).abs().mean() > 1
    assert torch.equal(first, again)


def test_white_balance_leaves_green(views: torch.Tensor):
    found = changed(views, white_balance=0.15)
    torch.testing.assert_close(found[:, 1], views[:, 1], rtol=0, atol=1e-3)
    ratio = (found[:, 0] / views[:, 0]).flatten(1)
    assert ratio.max() <= 1.16 and ratio.min() >= 0.84 and ratio.std(dim=1).max() < 0.02


def test_a_blur_takes_away_detail_and_keeps_the_mean(views: torch.Tensor):
    found = changed(views, blur_probability=1.0, blur=2.0)
    assert found.std() < views.std()
    torch.testing.assert_close(found.mean(dim=(2, 3)), views.mean(dim=(2, 3)), rtol=0.02, atol=1)


def test_half_of_the_views_are_changed_at_a_probability_of_a_half(views: torch.Tensor):
    many = views.repeat(16, 1, 1, 1)
    found = simulate_cameras(many.clone(), replace(SAME, jpeg_probability=0.5), np.random.default_rng(0))
    share = ((found - many).abs().amax(dim=(1, 2, 3)) > 1).float().mean()
    assert 0.35 < share < 0.65


def test_cameras_are_part_of_augmentation_only_when_chosen():
    squares = torch.full((4, 64, 64, 3), 128, dtype=torch.uint8)
    still = Augmentation(lighting=0, colour_cast=0, erase_probability=0)
    plain = random_views(squares, 32, still, np.random.default_rng(0))
    assert plain.round().unique().numel() == 1
    other = random_views(squares, 32, replace(still, cameras=Cameras()), np.random.default_rng(0))
    assert other.round().unique().numel() > 4
