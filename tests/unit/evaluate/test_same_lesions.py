"""Which photographs of other sources show a lesion of HAM10000."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from evaluate import main_same_lesions
from evaluate.same_lesions import MIN_INLIERS, inliers, keypoints
from tests.tiny_ham10000 import first_image, make_root


def texture(seed: int) -> Image.Image:
    """Blobs, 384 x 288, with many keypoints."""
    noise = np.random.default_rng(seed).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((384, 288), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))


def cropped(photograph: Image.Image) -> Image.Image:
    """Three quarters of it, turned a little and darkened."""
    return photograph.rotate(4).crop((40, 30, 340, 255)).resize((360, 270)).point(lambda level: int(level * 0.8))


def test_only_a_photograph_of_the_same_lesion_agrees():
    images = (texture(0), cropped(texture(0)), texture(1), Image.new("RGB", (256, 256), (128, 128, 128)))
    whole, part, other, plain = (keypoints(np.asarray(image)) for image in images)
    assert inliers(part, whole) > 10 * MIN_INLIERS
    assert inliers(other, whole) < MIN_INLIERS and inliers(plain, whole) == 0


def test_the_command_writes_the_pairs(tmp_path: Path, capsys):
    root, also, output = make_root(tmp_path / "root"), tmp_path / "also", tmp_path / "same.csv"
    texture(0).save(first_image(root))
    also.mkdir()
    cropped(texture(0)).save(also / "crop.png")
    texture(1).save(also / "other.png")
    given = [str(root), "--also", str(also), "--output", str(output)]

    (also / "metadata.csv").write_text("image_id,dx,source\ncrop,akiec,mine\nother,nv,mine\n")
    assert main_same_lesions.main(given) == 2
    assert "the folders of --also have no photograph of milk10k" in capsys.readouterr().err

    (also / "metadata.csv").write_text("image_id,dx,source\ncrop,akiec,milk10k\nother,nv,milk10k\n")
    assert main_same_lesions.main(given) == 0
    with output.open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"image_id": "crop", "lesion_id": "HAM_akiec_0"}]
    assert "1 of 2 photographs show a lesion of HAM10000; 1 of these have its diagnosis" in capsys.readouterr().out
