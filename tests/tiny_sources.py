"""A tiny folder of photographs from other sources than HAM10000."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from api.classes import CLASSES
from tests.tiny_ham10000 import COLOURS

PHOTOGRAPHS = 12
"""Of each class and of scc: eight of milk10k, the first two of one lesion, and four of bcn."""


def make_sources(folder: Path) -> Path:
    """Photographs of the seven classes and of scc, from milk10k (256 px) and bcn (84 px), and their table."""
    rng = np.random.default_rng(0)
    rows = ["image_id,lesion_id,dx,source,skin_tone"]
    for dx, colour in zip([*CLASSES, "scc"], [*COLOURS, (120, 120, 120)], strict=True):
        for number in range(PHOTOGRAPHS):
            source, side, tone = ("milk10k", 256, str(number % 6)) if number < 8 else ("bcn", 84, "")
            path = folder / "images" / source / f"{source}_{dx}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            level = np.clip(rng.normal(colour, 25), 0, 255).astype(np.uint8)
            Image.new("RGB", (side, side), tuple(level.tolist())).save(path)
            rows.append(f"{path.stem},{dx}_{max(number, 1)},{dx},{source},{tone}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder
