"""Which photographs of other sources show a lesion of HAM10000."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision.models import resnet34

from benchmarks import same_lesions
from benchmarks.same_lesions import LEAST_INLIERS, inliers, keypoints
from tests.tiny_ham10000 import first_image, make_root


def texture(seed: int) -> Image.Image:
    """Blobs, 384 x 288, with many keypoints."""
    noise = np.random.default_rng(seed).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((384, 288), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))


def cropped(photograph: Image.Image) -> Image.Image:
    """Three quarters of it, turned a little and darkened."""
    return photograph.rotate(4).crop((40, 30, 340, 255)).resize((360, 270)).point(lambda level: int(level * 0.8))


def test_a_crop_agrees_and_another_photograph_does_not():
    whole, part, other = (keypoints(np.asarray(image)) for image in (texture(0), cropped(texture(0)), texture(1)))
    assert inliers(part, whole) > 10 * LEAST_INLIERS
    assert inliers(other, whole) < LEAST_INLIERS


def test_a_photograph_without_keypoints_agrees_with_none():
    plain = keypoints(np.full((256, 256, 3), 128, np.uint8))
    assert plain is None and inliers(plain, keypoints(np.asarray(texture(0)))) == 0


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """HAM10000's folder, in which one photograph has texture; a folder with a crop of it; starting weights."""
    root, also, weights = make_root(tmp_path / "root"), tmp_path / "also", tmp_path / "init.pth"
    texture(0).save(first_image(root))
    also.mkdir()
    cropped(texture(0)).save(also / "crop.png")
    texture(1).save(also / "other.png")
    (also / "metadata.csv").write_text("image_id,dx,source\ncrop,akiec,milk10k\nother,nv,milk10k\n")
    torch.save(resnet34(num_classes=7).state_dict(), weights)
    return root, also, weights


def test_the_command_writes_the_pairs(folders: tuple[Path, Path, Path], tmp_path: Path, capsys):
    root, also, weights = folders
    output = tmp_path / "same.csv"
    given = [str(root), "--also", str(also), "--init", str(weights), "--output", str(output)]
    assert same_lesions.main(given) == 0
    with output.open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"image_id": "crop", "lesion_id": "HAM_akiec_0"}]
    assert "1 of 2 photographs show a lesion of HAM10000; 1 of these have its diagnosis" in capsys.readouterr().out


def test_folders_without_the_source_are_refused(folders: tuple[Path, Path, Path], capsys):
    root, also, weights = folders
    assert same_lesions.main([str(root), "--also", str(also), "--init", str(weights), "--sources", "mine"]) == 2
    assert "the folders of --also have no photograph of mine" in capsys.readouterr().err
