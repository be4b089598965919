"""A tiny folder of photographs from other sources than HAM10000, as ``--also`` takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from api.classes import CLASSES
from evaluate.sources import METADATA
from tests.tiny_ham10000 import COLOURS

PHOTOGRAPHS = 12
"""Of each disease in :func:`make_sources`: eight of milk10k, of seven lesions, and four of bcn."""


def make_sources(folder: Path) -> Path:
    """The seven classes and scc; milk10k's photographs have 256 pixels, bcn's 84 and neither lesion nor skin tone."""
    rng = np.random.default_rng(1)
    rows = ["image_id,lesion_id,dx,source,skin_tone"]
    for dx, colour in zip([*CLASSES, "scc"], [*COLOURS, (120, 120, 120)], strict=True):
        for number in range(PHOTOGRAPHS):
            source, side = ("milk10k", 256) if number < 8 else ("bcn", 84)
            image_id = f"{source}_{dx}_{number}"
            path = folder / "images" / source / f"{image_id}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.clip(rng.normal(colour, 25, (side, side, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path)
            lesion, tone = (f"MILK_{dx}_{max(number, 1)}", number % 6) if source == "milk10k" else ("", "")
            rows.append(f"{image_id},{lesion},{dx},{source},{tone}")
    (folder / METADATA).write_text("\n".join(rows) + "\n")
    return folder
