"""The regions of a photograph that are hidden and shown, what hidden ones look like, and how they are outlined."""

from __future__ import annotations

import numpy as np
from skimage.segmentation import find_boundaries, slic

SUPERPIXELS = 50
GREEN = (0, 255, 0)


def superpixels(square: np.ndarray) -> np.ndarray:
    """About :data:`SUPERPIXELS` regions that follow colour edges, numbered from 0 (SLIC, Achanta et al., PAMI 2012)."""
    segments = slic(square, n_segments=SUPERPIXELS, compactness=10, start_label=0)
    return np.unique(segments, return_inverse=True)[1].reshape(segments.shape)


def surrounding_colour(square: np.ndarray) -> np.ndarray:
    """Median colour of the outer tenth of the square, mostly skin: what hidden regions are painted with."""
    border = max(1, min(square.shape[:2]) // 10)
    inside = np.zeros(square.shape[:2], bool)
    inside[border:-border, border:-border] = True
    outer = square[~inside] if inside.any() else square.reshape(-1, 3)
    return np.median(outer, axis=0).astype(np.uint8)


def paint(square: np.ndarray, hidden: np.ndarray, segments: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The perturbed photographs (N, H, W, 3) of boolean ``masks`` (N, regions).

    ``hidden`` (H, W, 3) or a colour is what regions look like that are not shown.
    """
    return np.where(masks[:, segments][..., None], square, hidden)


def outline(square: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``square`` with the border of ``mask`` in green, two pixels wide. The frame of the picture counts as outside."""
    framed = np.pad(mask, 1)
    border = find_boundaries(framed, mode="thick")[1:-1, 1:-1]
    return np.where(border[..., None], np.array(GREEN, np.uint8), square)
