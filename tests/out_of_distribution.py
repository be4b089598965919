"""Out-of-distribution images: bundled with scikit-image, scikit-learn and matplotlib, or drawn here."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import skimage
import sklearn.datasets
from PIL import Image, ImageDraw, ImageFont

from api.photograph import open_photograph
from handler.model.images import SIZE, network_square

BUNDLED = {
    Path(skimage.__file__).parent / "data": (
        "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "chessboard_GRAY.png",
        "chessboard_RGB.png", "clock_motion.png", "coffee.png", "coins.png", "color.png", "grass.png", "gravel.png",
        "horse.png", "hubble_deep_field.jpg", "ihc.png", "logo.png", "microaneurysms.png", "moon.png",
        "motorcycle_left.png", "page.png", "phantom.png", "retina.jpg", "rocket.jpg", "text.png",
    ),
    Path(sklearn.datasets.__file__).parent / "images": ("china.jpg", "flower.jpg"),
    Path(matplotlib.get_data_path()) / "sample_data": (
        "grace_hopper.jpg", "Minduka_Present_Blue_Pack.png", "logo2.png",
    ),
}  # fmt: skip
FACES = Path(skimage.__file__).parent / "data/lfw_subset.npy"
COLOURS = ["black", "white", "grey", "red", "blue", "green", "peachpuff", "saddlebrown"]


def out_of_distribution_images() -> dict[str, np.ndarray]:
    """``uint8`` squares (224, 224, 3) by name: a cat, faces, texts, textures, machines, noise, colours, shapes."""
    pictures = {
        name: network_square(open_photograph((folder / name).read_bytes()))
        for folder, names in BUNDLED.items()
        for name in names
        if (folder / name).exists()
    }
    for number, face in enumerate(np.load(FACES)[:100:5]):
        grey = Image.fromarray(np.uint8(face * 255).clip(0, 255)).convert("RGB")
        pictures[f"face {number}"] = np.asarray(grey.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    rng = np.random.default_rng(0)
    for grain in (1, 2, 4, 8, 16, 32):
        noise = rng.integers(0, 256, (SIZE // grain, SIZE // grain, 3), dtype=np.uint8)
        for way in (Image.Resampling.NEAREST, Image.Resampling.BICUBIC):
            pictures[f"noise {grain} {way.name}"] = np.asarray(Image.fromarray(noise).resize((SIZE, SIZE), way))
    for colour in COLOURS:
        pictures[colour] = np.asarray(Image.new("RGB", (SIZE, SIZE), colour))
    for size in (8, 12, 18, 30):
        sheet = Image.new("RGB", (SIZE, SIZE), "white")
        for y in range(4, SIZE, size + 4):
            text = "".join(rng.choice(list("abcdefghij klmnop "), 60))
            ImageDraw.Draw(sheet).text((4, y), text, "black", ImageFont.load_default(size))
        pictures[f"page {size}"] = np.asarray(sheet)
    for number in range(6):
        sheet = Image.new("RGB", (SIZE, SIZE), tuple(rng.integers(0, 256, 3)))
        for _ in range(12):
            (left, top), (width, height) = rng.integers(0, SIZE, 2), rng.integers(10, 90, 2)
            draw = ImageDraw.Draw(sheet)
            shape = draw.rectangle if rng.random() < 0.5 else draw.ellipse
            shape((left, top, left + width, top + height), tuple(rng.integers(0, 256, 3)))
        pictures[f"shapes {number}"] = np.asarray(sheet)
    return pictures
