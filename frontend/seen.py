"""What the network saw of a photograph: its centre square, and whether the lesion reaches beyond it.

The lesion is estimated by one threshold on colour, which is simple enough to be checked: see :func:`lesion`.
"""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from PIL import Image

from api.photograph import Square
from frontend.language import Say

LONGEST = 1600
"""Longer side in pixels of a photograph in a view."""

ESTIMATE = 96
"""Shorter side in pixels at which the lesion is estimated."""

MIN_SEPARATION = 0.66
"""Least share of the variance of colour that lesion and skin must explain as two groups. The halves of one bell curve,
which plain skin is, explain 0.64."""

MIN_DIFFERENCE = 15
"""Least difference of their means, from 0 to 255."""

MIN_AREA = 0.005
"""Least share of the photograph that is taken for a lesion."""

MIN_CONTACT = 0.02
"""Least share of the square's outline that a lesion which is cut off covers."""


def for_view(photograph: Image.Image, longest: int = LONGEST) -> Image.Image:
    """The whole photograph, made smaller if its longer side exceeds ``longest`` pixels."""
    if max(photograph.size) <= longest:
        return photograph
    small = photograph.copy()
    small.thumbnail((longest, longest))
    return small


def data_address(photograph: Image.Image) -> str:
    """A photograph as the ``data:`` address of a JPEG file."""
    file = io.BytesIO()
    photograph.save(file, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def unseen(size: tuple[int, int]) -> str:
    """An SVG path of what lies outside the square; empty for a square photograph."""
    (width, height), square = size, Square.of(size)
    if width == height:
        return ""
    right, bottom = square.left + square.side, square.top + square.side
    # The hole turns the other way, which leaves it unfilled.
    return f"M0 0H{width}V{height}H0ZM{square.left} {square.top}V{bottom}H{right}V{square.top}Z"


def picture(photograph: Image.Image, name: str, say: Say, longest: int = 900) -> str:
    """The photograph as HTML, dimmed where the network did not look.

    Args:
        photograph: upright.
        name: of its file, for screen readers.
        longest: side in pixels.
    """
    shown = for_view(photograph, longest)
    width, height = shown.size
    square = Square.of(shown.size)
    alt = say("Photograph {name}; the network saw the square in its centre").format(name=name)
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
        f'<image href="{data_address(shown)}" width="{width}" height="{height}"/>{outside}</svg>'
    )
    # A file of its own, as Streamlit takes drawings out of HTML.
    address = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    style = "display:block;max-width:100%;max-height:24rem;border-radius:.4rem"
    return f'<img src="{address}" alt="{escape(alt)}" style="{style}">'


def note(photograph: Image.Image, say: Say) -> str | None:
    """A sentence if the lesion seems to reach the border of what the network saw; None otherwise.

    Where no lesion stands out, nothing is said: the estimate is too simple to tell that there is none. On 600 training
    photographs of HAM10000, it spoke for 22 %; 82 % of those, and 31 % of all, have a segmented lesion that touches the
    border, and it found 59 % of them.
    """
    found = lesion(photograph)
    if found is None:
        return None
    contact, hidden = cut_off(found)
    if contact < MIN_CONTACT:
        return None
    if hidden >= 0.05:
        return say(
            "The lesion seems to reach beyond the square that the network saw: about {share} of it lies outside."
        ).format(share=say("{figure}%").format(figure=round(100 * hidden)))
    return say("The lesion seems to touch the border of the square that the network saw; it may be cut off there.")


def cut_off(found: np.ndarray) -> tuple[float, float]:
    """How far a lesion, boolean (H, W), leaves the centre square.

    Returns:
        The share of the square's outline that it covers, and the share of the lesion that lies outside.
    """
    height, width = found.shape
    square = Square.of((width, height))
    inside = found[square.top : square.top + square.side, square.left : square.left + square.side]
    edge = np.concatenate([inside[0], inside[-1], inside[1:-1, 0], inside[1:-1, -1]])
    return float(edge.mean()), 1 - float(inside.sum()) / max(1, int(found.sum()))


def lesion(photograph: Image.Image) -> np.ndarray | None:
    """An estimate of the lesion's pixels, boolean (H, W) at :data:`ESTIMATE` pixels; None where none stands out.

    A lesion is darker and redder than skin, so it is dark in green and blue. Otsu's threshold on their mean, after a
    blur against hairs, gives two groups; the largest connected part of the dark one, near the centre rather than not,
    is the lesion. The black rim of a dermatoscope does not count.
    """
    scale = ESTIMATE / min(photograph.size)
    width, height = (max(1, min(4 * ESTIMATE, round(side * scale))) for side in photograph.size)
    pixels = np.asarray(photograph.convert("RGB").resize((width, height), Image.Resampling.BOX), np.float32)
    channel = _blur(pixels[..., 1:].mean(-1))
    rim = _reached(pixels.max(-1) < 50, _border(channel.shape))
    threshold, separation = otsu(channel[~rim])
    dark = (channel < threshold) & ~rim
    rest = ~dark & ~rim
    if separation < MIN_SEPARATION or channel[rest].mean() - channel[dark].mean() < MIN_DIFFERENCE:
        return None
    part = _main_part(dark)
    return part if part.mean() >= MIN_AREA else None


def otsu(values: np.ndarray) -> tuple[float, float]:
    """Otsu's threshold of ``values`` (N,) from 0 to 255, and the share of their variance between the two groups."""
    counts, edges = np.histogram(values, 128, (0, 256))
    if values.size == 0 or not counts.any():
        return 0.0, 0.0
    share = counts / counts.sum()
    centres = (edges[1:] + edges[:-1]) / 2
    below, moment = share.cumsum(), (share * centres).cumsum()
    mean = moment[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((mean * below - moment) ** 2 / (below * (1 - below)))
    best = int(between.argmax())
    variance = float((share * (centres - mean) ** 2).sum())
    return float(edges[best + 1]), float(between[best] / variance) if variance > 0 else 0.0


def _blur(channel: np.ndarray, radius: int = 1) -> np.ndarray:
    """Means over squares of ``2 * radius + 1`` pixels."""
    padded = np.pad(channel, radius, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1, 2 * radius + 1))
    return windows.mean((-1, -2))


def _border(shape: tuple[int, ...]) -> np.ndarray:
    border = np.ones(shape, bool)
    border[1:-1, 1:-1] = False
    return border


def _reached(mask: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The pixels of ``mask`` that are connected to ``start`` through it."""
    reached = mask & start
    while True:
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= mask
        if (grown == reached).all():
            return reached
        reached = grown


def _main_part(mask: np.ndarray) -> np.ndarray:
    """The connected part with the most pixels, of which those near the centre count more."""
    height, width = mask.shape
    y, x = np.mgrid[:height, :width]
    nearness = np.exp(-(((y - height / 2) / height) ** 2 + ((x - width / 2) / width) ** 2) * 8)
    best, left = np.zeros_like(mask), mask.copy()
    most = 0.0
    while (left * nearness).sum() > most:
        start = np.zeros_like(mask)
        start.flat[int((left * nearness).argmax())] = True
        part = _reached(left, start)
        left &= ~part
        if (part * nearness).sum() > most:
            best, most = part, float((part * nearness).sum())
    return best
