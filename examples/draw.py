"""Draw the example pictures next to this script: lesions as seen through a dermatoscope, made of noise.

    python examples/draw.py             # rewrites examples/drawn_*.jpg
    python examples/draw.py elsewhere   # writes them to another folder

No part of them is a photograph, so they can be distributed with the code. They have no true diagnosis.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 600, 450
COMMENT = "Drawn by examples/draw.py. Not a photograph; no diagnosis should be read into it."

Y, X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)


def main(folder: str | Path = Path(__file__).parent) -> None:
    """Draw every picture into ``folder``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, drawing) in enumerate(PICTURES.items()):
        pixels = drawing(np.random.default_rng(seed))
        picture = Image.fromarray((pixels.clip(0, 1) * 255 + 0.5).astype(np.uint8))
        picture.save(folder / f"{name}.jpg", quality=88, comment=COMMENT)


def nevus(rng: np.random.Generator) -> np.ndarray:
    """A round lesion of one brown, with a regular pigment network that fades towards the edge."""
    pixels = skin(rng, (0.86, 0.66, 0.58))
    depth = outline(rng, (300, 225), 112, wobble=0.03, aspect=1.04) + 4 * noise(rng, 30)
    edges, _, _ = cells(rng, 11)
    network = np.exp(-((edges / 2.2) ** 2))
    body = soft(depth, 16) * (0.62 + 0.22 * network + 0.06 * noise(rng, 60) + 0.03 * noise(rng, 14))
    pixels = blend(pixels, (0.45, 0.25, 0.15), body)
    pixels = blend(pixels, (0.33, 0.16, 0.09), 0.55 * soft(depth - 45, 28) * (0.6 + 0.4 * network))
    return finish(rng, pixels, hairs=4)


def melanoma(rng: np.random.Generator) -> np.ndarray:
    """An asymmetric lesion of irregular outline and many colours: browns, black, red, a blue-white veil, regression."""
    pixels = skin(rng, (0.88, 0.70, 0.66))
    depth = outline(rng, (290, 230), 150, wobble=0.20) + 22 * noise(rng, 60) + 8 * noise(rng, 18) + 3 * noise(rng, 6)
    edges, _, _ = cells(rng, 15)
    network = np.exp(-((edges / 3.0) ** 2))
    body = soft(depth, 13)
    mottle = noise(rng, 110) + 0.5 * noise(rng, 35) + 0.25 * noise(rng, 12)
    pixels = blend(pixels, (0.55, 0.36, 0.27), body * (0.70 + 0.25 * network))
    pixels = blend(pixels, (0.27, 0.14, 0.10), 0.85 * body * soft(mottle + 0.3 * network, 0.8))
    pixels = blend(pixels, (0.70, 0.34, 0.32), 0.5 * body * blob(215, 300, 52, rng))
    pixels = blend(pixels, (0.09, 0.06, 0.07), 0.92 * body * soft(blob(365, 190, 85, rng) - 0.4, 0.3))
    pixels = blend(pixels, (0.46, 0.50, 0.58), 0.65 * body * blob(300, 215, 50, rng))
    pixels = blend(pixels, (0.86, 0.72, 0.68), 0.55 * body * blob(225, 175, 42, rng))
    _, distance, shade = cells(rng, 22)
    globules = soft(4 - distance, 1.8) * (shade > 0.3) * soft(depth + 10, 10) * soft(30 - depth, 20)
    pixels = blend(pixels, (0.18, 0.10, 0.08), 0.6 * globules)
    return finish(rng, pixels, hairs=5)


def vascular(rng: np.random.Generator) -> np.ndarray:
    """Red to purple lacunae with sharp borders, separated by pale septa."""
    pixels = skin(rng, (0.93, 0.72, 0.70))
    depth = outline(rng, (310, 220), 92, wobble=0.09) + 5 * noise(rng, 20)
    edges, _, shade = cells(rng, 30)
    lacunae = soft(edges - 2.2, 2.6) * soft(depth - 6, 5) * (0.8 + 0.07 * noise(rng, 9))
    pixels = blend(pixels, (0.84, 0.36, 0.46), 0.8 * soft(depth, 12))
    pixels = blend(pixels, (0.74, 0.10, 0.24), lacunae)
    pixels = blend(pixels, (0.36, 0.06, 0.26), lacunae * (0.15 + 0.55 * (shade > 0.6)) * soft(edges - 6, 6))
    pixels = blend(pixels, (0.96, 0.62, 0.66), 0.18 * lacunae * soft(noise(rng, 14), 0.3))
    return finish(rng, pixels, hairs=5)


def keratosis(rng: np.random.Generator) -> np.ndarray:
    """A rough lesion with a sharp edge, fissures, milia-like cysts (pale) and comedo-like openings (dark)."""
    pixels = skin(rng, (0.83, 0.70, 0.68))
    depth = outline(rng, (295, 228), 140, wobble=0.08, aspect=1.25) + 6 * noise(rng, 26)
    body = soft(depth, 8)
    relief = noise(rng, 40) + 0.7 * noise(rng, 13) + 0.5 * noise(rng, 5)
    edges, _, _ = cells(rng, 30)
    pixels = blend(pixels, (0.58, 0.43, 0.28), 0.9 * body)
    pixels = blend(pixels, (0.38, 0.25, 0.15), 0.5 * body * soft(relief, 1.2))
    pixels = blend(pixels, (0.78, 0.66, 0.48), 0.4 * body * soft(-relief - 0.4, 1.0))
    pixels = blend(pixels, (0.27, 0.17, 0.10), 0.6 * body * np.exp(-((edges / 2.2) ** 2)) * soft(noise(rng, 50), 0.8))
    inside = depth > 14
    for colour, spacing, radius, share in ((0.95, 0.90, 0.78), 52, 5.0, 0.55), ((0.12, 0.08, 0.06), 64, 6.5, 0.45):
        _, distance, shade = cells(rng, spacing)
        pixels = blend(pixels, colour, 0.85 * soft(radius - distance, 1.6) * (shade < share) * inside)
    return finish(rng, pixels, hairs=3)


PICTURES = {
    "drawn_nevus": nevus,
    "drawn_melanoma": melanoma,
    "drawn_vascular": vascular,
    "drawn_keratosis": keratosis,
}


def skin(rng: np.random.Generator, tone: tuple[float, float, float]) -> np.ndarray:
    """A mottled background of ``tone``, with fine furrows and pores."""
    pixels = np.ones((HEIGHT, WIDTH, 1)) * np.array(tone)
    pixels = pixels + 0.025 * noise(rng, 140)[..., None] + 0.014 * noise(rng, 22)[..., None]
    pixels = blend(pixels, (0.80, 0.42, 0.40), 0.13 * soft(noise(rng, 70), 0.5))
    edges, _, _ = cells(rng, 9)
    pixels = pixels - 0.02 * np.exp(-((edges / 1.5) ** 2))[..., None]
    return pixels + 0.012 * noise(rng, 3)[..., None]


def finish(rng: np.random.Generator, pixels: np.ndarray, hairs: int) -> np.ndarray:
    """Add hairs, uneven illumination and the dark corners of a dermatoscope."""
    scale = 3  # drawn at a larger scale, for antialiasing
    layer = Image.new("L", (WIDTH * scale, HEIGHT * scale))
    pen = ImageDraw.Draw(layer)
    for _ in range(hairs):
        start, bend, end = rng.uniform(-0.1, 1.1, (3, 2)) * (WIDTH * scale, HEIGHT * scale)
        t = np.linspace(0, 1, 80)[:, None]
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
        pen.line([tuple(point) for point in curve], fill=int(rng.integers(150, 230)), width=int(rng.integers(4, 8)))
    hair = np.asarray(layer.resize((WIDTH, HEIGHT), Image.Resampling.BOX)) / 255
    pixels = blend(pixels, (0.20, 0.13, 0.10), hair)
    radius = np.hypot((X - WIDTH / 2) / WIDTH, (Y - HEIGHT / 2) / WIDTH)
    light = 1.04 - 0.35 * radius**2 + 0.02 * noise(rng, 200)
    return pixels * (light * soft(0.60 - radius, 0.022))[..., None]


def blend(pixels: np.ndarray, colour: tuple[float, float, float], strength: np.ndarray) -> np.ndarray:
    """``pixels`` overlaid with ``colour``, with the opacity ``strength`` (H, W), clipped to 0–1."""
    opacity = np.clip(strength, 0, 1)[..., None]
    return pixels * (1 - opacity) + np.array(colour) * opacity


def soft(depth: np.ndarray, width: float) -> np.ndarray:
    """Smooth step from 0 to 1 over ``depth`` from ``-width`` to ``width``."""
    t = np.clip(depth / (2 * width) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def noise(rng: np.random.Generator, grain: float) -> np.ndarray:
    """Smooth noise (HEIGHT, WIDTH) of mean 0 and standard deviation 1, with features about ``grain`` pixels wide."""
    shape = (int(HEIGHT / grain) + 4, int(WIDTH / grain) + 4)
    coarse = Image.fromarray(rng.standard_normal(shape).astype(np.float32))
    field = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=(1, 1, shape[1] - 1, shape[0] - 1)))
    return (field - field.mean()) / field.std()


def outline(
    rng: np.random.Generator, centre: tuple[float, float], radius: float, wobble: float, aspect: float = 1.1
) -> np.ndarray:
    """Distance in pixels from each point outwards to a closed curve around ``centre``; negative outside."""
    x, y = (X - centre[0]) / aspect, (Y - centre[1]) * aspect
    angle = np.arctan2(y, x)
    rim = np.ones_like(angle)
    for k in range(2, 9):
        rim += wobble * rng.uniform(0.4, 1.0) * 2 / k * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return radius * rim - np.hypot(x, y)


def blob(x: float, y: float, radius: float, rng: np.random.Generator) -> np.ndarray:
    """A patch with irregular, soft edges: 1 in the middle, 0 outside."""
    return soft(radius * (1 + 0.22 * noise(rng, 30) + 0.1 * noise(rng, 9)) - np.hypot(X - x, Y - y), radius / 2.5)


def cells(rng: np.random.Generator, spacing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cellular noise (Worley, "A Cellular Texture Basis Function", SIGGRAPH 1996), one point per square of ``spacing``.

    Returns:
        Each pixel's distance to the border of its cell and to the cell's point, and the cell's random shade, 0–1.
    """
    rows, columns = int(HEIGHT / spacing) + 6, int(WIDTH / spacing) + 6
    jitter = rng.uniform(0.1, 0.9, (2, rows, columns))
    shades = rng.uniform(0, 1, (rows, columns))
    # Coordinates are warped a little, because straight borders look artificial.
    bent_x, bent_y = (np.clip(axis + 0.16 * spacing * noise(rng, 0.8 * spacing), 0, WIDTH) for axis in (X, Y))
    row, column = (bent_y / spacing).astype(int) + 1, (bent_x / spacing).astype(int) + 1
    first, second = np.full((2, HEIGHT, WIDTH), np.inf)
    shade = np.zeros((HEIGHT, WIDTH))
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            r, c = row + i, column + j
            x = (c - 1 + jitter[0, r, c]) * spacing - bent_x
            y = (r - 1 + jitter[1, r, c]) * spacing - bent_y
            distance = np.hypot(x, y)
            shade = np.where(distance < first, shades[r, c], shade)
            second = np.minimum(second, np.maximum(first, distance))
            first = np.minimum(first, distance)
    return (second - first) / 2, first, shade


if __name__ == "__main__":
    main(*sys.argv[1:2])
