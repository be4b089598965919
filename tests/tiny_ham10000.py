"""A tiny data set laid out like HAM10000, and changes to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from api.classes import CLASSES
from evaluate.dataset import FOLDERS, METADATA

IMAGES = 28
"""Images of :func:`make_root`, four of each class."""

COLOURS = [(200, 90, 90), (90, 200, 90), (90, 90, 200), (200, 200, 90), (60, 50, 40), (160, 110, 80), (200, 40, 140)]


def make_root(root: Path, suffix: str = ".jpg", lesions: int = 3, side: int = 48) -> Path:
    """Seven classes of three ``lesions``, each of one or two images of its class's colour, some in subfolders.

    ``side`` is the images' shorter side in pixels.
    """
    rng = np.random.default_rng(0)
    rows, number = ["lesion_id,image_id,dx,dx_type,age,sex,localization"], itertools.count()
    for dx, colour in zip(CLASSES, COLOURS, strict=True):
        for lesion in range(lesions):
            for _ in range(1 + lesion % 2):
                image_id = f"ISIC_{next(number):07d}"
                folder = train_folder(root) / ("part_1", "part_2/deep", ".")[lesion % 3]
                folder.mkdir(parents=True, exist_ok=True)
                pixels = np.clip(rng.normal(colour, 25, (side, side * 4 // 3, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{image_id}{suffix}")
                rows.append(f"HAM_{dx}_{lesion},{image_id},{dx},histo,50.0,male,back")
    (root / METADATA).write_text("\n".join(rows) + "\n")
    return root


def train_folder(root: Path) -> Path:
    return root / FOLDERS["train"]


def change_metadata(root: Path, change: Callable[[str], str]) -> None:
    """Replace the text of the metadata by ``change(text)``."""
    path = root / METADATA
    path.write_text(change(path.read_text()))


def first_image(root: Path) -> Path:
    return next(train_folder(root).rglob("ISIC_0000000.*"))
