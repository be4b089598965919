"""Changes that another clinic's camera or software makes to a photograph, as deterministic functions.

A classifier meets them without warning: another white balance, another display curve, a lens out of focus, a stronger
compression, another way of resizing. None of them changes the diagnosis.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from api.photograph import Square
from handler.model.images import SIZE

Shift = Callable[[Image.Image], Image.Image]
"""An RGB photograph of any size in, the changed photograph out; it may have another size."""

JPEG_QUALITY = 40

BLUR = 1.5 / SIZE
"""Standard deviation of the blur as a share of the shorter side: 1.5 pixels of the network's square."""


def white_balance(red: float, blue: float) -> Shift:
    """Multiply the red and blue channels."""
    return _by_level(lambda levels: np.stack([levels * red, levels, levels * blue]))


def gamma(exponent: float) -> Shift:
    """Raise the pixels, scaled to 0–1, to ``exponent``: below 1 is lighter, above 1 darker."""
    return _by_level(lambda levels: np.stack([(levels / 255) ** exponent * 255] * 3))


def blur(photograph: Image.Image) -> Image.Image:
    """A Gaussian blur in proportion to the photograph's size."""
    return photograph.filter(ImageFilter.GaussianBlur(BLUR * min(photograph.size)))


def jpeg(photograph: Image.Image) -> Image.Image:
    """Compressed once more, at :data:`JPEG_QUALITY`, at the photograph's own size."""
    buffer = io.BytesIO()
    photograph.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Image.open(buffer).convert("RGB")


def half_resolution(photograph: Image.Image) -> Image.Image:
    """Reduced until the shorter side has half of the network's pixels; what serves it enlarges it again."""
    return _with_shorter_side(photograph, SIZE // 2, Image.Resampling.BICUBIC)


def without_antialiasing(photograph: Image.Image) -> Image.Image:
    """The centre square, bilinear without a low-pass filter, as OpenCV's and older versions of torch's resizing."""
    import torch  # takes seconds, and nothing else here needs it
    from torch.nn.functional import interpolate

    square = photograph.crop(Square.of(photograph.size).box)
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].float()
    small = interpolate(pixels, (SIZE, SIZE), mode="bilinear", antialias=False, align_corners=False)
    return Image.fromarray(small[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy())


def squeezed(photograph: Image.Image) -> Image.Image:
    """The whole photograph, squeezed into a square without regard to its proportions."""
    return photograph.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def cropped(photograph: Image.Image) -> Image.Image:
    """The centre of 224 pixels after resizing to 256, as torchvision's weights prescribe: a closer view."""
    resized = _with_shorter_side(photograph, 256, Image.Resampling.BICUBIC)
    return resized.crop(Square.of(resized.size, SIZE).box)


def _by_level(curves: Callable[[np.ndarray], np.ndarray]) -> Shift:
    """Replace each level by that of its channel's curve; ``curves`` maps levels (256,) to (3, 256)."""
    table = curves(np.arange(256.0)).round().clip(0, 255).astype(np.uint8).ravel().tolist()
    return lambda photograph: photograph.point(table)


def _with_shorter_side(photograph: Image.Image, side: int, method: Image.Resampling) -> Image.Image:
    scale = side / min(photograph.size)
    width, height = (max(side, round(length * scale)) for length in photograph.size)
    return photograph.resize((width, height), method)


UNCHANGED = "none"

SHIFTS: dict[str, Shift] = {
    UNCHANGED: lambda photograph: photograph,
    "white balance, warmer": white_balance(1.1, 0.9),
    "white balance, cooler": white_balance(0.9, 1.1),
    "gamma 0.7 (lighter)": gamma(0.7),
    "gamma 1.4 (darker)": gamma(1.4),
    "blur of 1.5 px": blur,
    f"JPEG {JPEG_QUALITY}": jpeg,
    "112 px, enlarged": half_resolution,
    "bilinear, no antialiasing": without_antialiasing,
    "squeezed into a square": squeezed,
    "256 px, centre 224": cropped,
}
"""By the name in the score card; sizes in pixels are those of the network's square."""
