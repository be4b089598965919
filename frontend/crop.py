"""What the network saw of a photograph: its centre square, and whether the lesion extends beyond it.

The lesion is estimated by one threshold on colour, which is simple enough to be checked: see :func:`lesion`.
"""

from __future__ import annotations

import base64
from html import escape

import numpy as np
from PIL import Image, ImageFilter
from skimage import filters, measure

from api.photograph import Square
from frontend.i18n import _, percentage
from frontend.photographs import data_url

MAX_SIDE = 1600
"""Longer side in pixels of a photograph in a view."""

ESTIMATE_SIDE = 96
"""Shorter side in pixels at which the lesion is estimated."""

MIN_SEPARATION = 0.66
"""Least share of the variance of colour that lies between lesion and skin. The halves of one bell curve, which plain
skin is, reach 0.64."""

MIN_DIFFERENCE = 15
"""Least difference of their means, from 0 to 255."""

MIN_AREA = 0.005
"""Least share of the photograph that is taken for a lesion."""

MIN_CONTACT = 0.02
"""Least share of the square's outline that a lesion which is cut off covers."""

MAX_RIM_BRIGHTNESS = 50
"""Pixels below this, from 0 to 255, may belong to the black rim of a dermatoscope."""


def for_view(photograph: Image.Image, max_side: int = MAX_SIDE) -> Image.Image:
    """The whole photograph, made smaller if its longer side exceeds ``max_side`` pixels."""
    if max(photograph.size) <= max_side:
        return photograph
    small = photograph.copy()
    small.thumbnail((max_side, max_side))
    return small


def unseen(size: tuple[int, int]) -> str:
    """An SVG path of what lies outside the square; empty for a square photograph."""
    (width, height), square = size, Square.of(size)
    if width == height:
        return ""
    right, bottom = square.left + square.side, square.top + square.side
    # The hole turns the other way, which leaves it unfilled.
    return f"M0 0H{width}V{height}H0ZM{square.left} {square.top}V{bottom}H{right}V{square.top}Z"


def picture(photograph: Image.Image, name: str, max_side: int = 900) -> str:
    """The photograph as HTML, dimmed outside the square.

    Args:
        photograph: upright.
        name: of its file, for screen readers.
        max_side: in pixels.
    """
    shown = for_view(photograph, max_side)
    width, height = shown.size
    square = Square.of(shown.size)
    alt = _("Photograph {name}; the network saw the square in its centre").format(name=name)
    unit = max(width, height) / 300
    outside = (
        f'<path d="{unseen(shown.size)}" fill="#000" fill-opacity=".45"/>'
        f'<rect x="{square.left}" y="{square.top}" width="{square.side}" height="{square.side}" fill="none" '
        f'stroke="#fff" stroke-width="{unit:.1f}" stroke-dasharray="{3 * unit:.1f}"/>'
        if width != height
        else ""
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<image href="{data_url(shown)}" width="{width}" height="{height}"/>{outside}</svg>'
    )
    # As an <img>, because Streamlit strips <svg> from HTML.
    url = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    style = "display:block;max-width:100%;max-height:24rem;border-radius:.4rem"
    return f'<img src="{url}" alt="{escape(alt)}" style="{style}">'


def note(photograph: Image.Image) -> str | None:
    """A sentence if the lesion seems to reach the border of what the network saw; None otherwise.

    None too where no lesion stands out: the estimate is too simple to conclude that there is none. Of 600 training
    photographs of HAM10000, 22 % got a note; 82 % of those, and 31 % of all, have a segmented lesion that touches the
    border, and 59 % of the lesions that do were found.
    """
    found = lesion(photograph)
    if found is None:
        return None
    contact, hidden = cut_off(found)
    if contact < MIN_CONTACT:
        return None
    if hidden >= 0.05:
        return _(
            "The lesion seems to extend beyond the square that the network saw: about {share} of it lies outside."
        ).format(share=percentage(f"{100 * hidden:.0f}"))
    return _("The lesion seems to touch the border of the square that the network saw; it may be cut off there.")


def cut_off(found: np.ndarray) -> tuple[float, float]:
    """How far a lesion, boolean (H, W), extends beyond the centre square.

    Returns:
        The share of the square's outline that it covers, and the share of the lesion that lies outside.
    """
    height, width = found.shape
    square = Square.of((width, height))
    inside = found[square.top : square.top + square.side, square.left : square.left + square.side]
    edge = np.concatenate([inside[0], inside[-1], inside[1:-1, 0], inside[1:-1, -1]])
    return float(edge.mean()), 1 - float(inside.sum()) / max(1, int(found.sum()))


def lesion(photograph: Image.Image) -> np.ndarray | None:
    """An estimate of the lesion's pixels, boolean (H, W), at :data:`ESTIMATE_SIDE`; None where none stands out.

    A lesion is darker and redder than skin, so it is dark in green and blue. Otsu's threshold on their mean, blurred
    against hairs, gives two groups; the lesion is the largest connected part of the dark one, with pixels near the
    centre counting more. The black rim of a dermatoscope does not count.
    """
    scale = ESTIMATE_SIDE / min(photograph.size)
    width, height = (max(1, min(4 * ESTIMATE_SIDE, round(side * scale))) for side in photograph.size)
    small = photograph.convert("RGB").resize((width, height), Image.Resampling.BOX)
    channel = np.asarray(small.filter(ImageFilter.BoxBlur(1)), np.float32)[..., 1:].mean(-1)
    rim = _rim(np.asarray(small).max(-1))
    values = channel[~rim]
    if values.size == 0 or values.min() == values.max():
        return None
    dark = ~rim & (channel <= filters.threshold_otsu(values))
    lesion_values, skin_values = channel[dark], channel[~rim & ~dark]
    if lesion_values.size == 0 or skin_values.size == 0:
        return None
    difference = float(skin_values.mean() - lesion_values.mean())
    between = lesion_values.size * skin_values.size / values.size**2 * difference**2
    if between < MIN_SEPARATION * values.var() or difference < MIN_DIFFERENCE:
        return None
    part = _main_part(dark)
    return part if part.mean() >= MIN_AREA else None


def _rim(brightness: np.ndarray) -> np.ndarray:
    """The dark pixels that are connected to the photograph's border."""
    parts = measure.label(brightness < MAX_RIM_BRIGHTNESS, connectivity=1)
    border = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return np.isin(parts, border[border > 0])


def _main_part(mask: np.ndarray) -> np.ndarray:
    """The connected part with the most pixels, of which those near the centre count more."""
    height, width = mask.shape
    y, x = np.mgrid[:height, :width]
    nearness = np.exp(-(((y - height / 2) / height) ** 2 + ((x - width / 2) / width) ** 2) * 8)
    parts = measure.label(mask, connectivity=1)
    sizes = np.bincount(parts.ravel(), (mask * nearness).ravel())
    return parts == sizes.argmax()
