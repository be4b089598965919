"""The regions of a photograph that are hidden and shown, what hidden ones look like, and how they are outlined."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from skimage.color import rgb2lab
from skimage.segmentation import find_boundaries, slic
from sklearn.cluster import AgglomerativeClustering

REGIONS = 18
"""As many as 512 designed masks can tell apart without triples of regions blurring the weight of one (see masks)."""

SUPERPIXELS = 200
NEARNESS = 0.2
"""Units of Lab colour that a hundredth of the picture's height counts for when superpixels are joined."""

GREEN = (0, 255, 0)


def regions_of(square: np.ndarray) -> np.ndarray:
    """At most :data:`REGIONS` connected regions (H, W) that follow colour edges, numbered from 0.

    Superpixels (SLIC, Achanta et al., PAMI 2012) joined to their neighbours while the variance within grows least
    (Ward 1963): plain skin becomes few large regions, and the lesion keeps its parts.
    """
    superpixels = slic(square, n_segments=SUPERPIXELS, compactness=10, sigma=1, start_label=0)
    superpixels = np.unique(superpixels, return_inverse=True)[1].reshape(superpixels.shape)
    count = int(superpixels.max()) + 1
    if count <= REGIONS:
        return superpixels
    height, width = superpixels.shape
    places = np.stack(np.mgrid[:height, :width], axis=-1) * (100 * NEARNESS / height)
    features = np.concatenate([rgb2lab(square), places], axis=-1).reshape(-1, 5)
    sizes = np.bincount(superpixels.ravel())
    means = np.stack([np.bincount(superpixels.ravel(), feature) / sizes for feature in features.T], axis=1)
    joined = AgglomerativeClustering(REGIONS, connectivity=_neighbours(superpixels, count), linkage="ward")
    return joined.fit_predict(means)[superpixels]


def _neighbours(segments: np.ndarray, count: int) -> csr_array:
    """Which of ``count`` segments touch, (count, count)."""
    touching = np.zeros((count, count), bool)
    touching[segments[:, :-1], segments[:, 1:]] = True
    touching[segments[:-1], segments[1:]] = True
    return csr_array(touching | touching.T)


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
