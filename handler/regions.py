"""Segmentation of a photograph into regions, perturbed photographs with some of them hidden, and outlines."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from skimage.color import rgb2lab
from skimage.segmentation import find_boundaries, slic
from sklearn.cluster import AgglomerativeClustering

REGIONS = 18
"""The most for which 512 designed masks keep each weight free of interactions of three regions (handler.masks)."""

SUPERPIXELS = 200
SPATIAL_WEIGHT = 0.2
"""Distance in Lab colour that equals a hundredth of the picture's height when superpixels are merged."""

GREEN = (0, 255, 0)


def regions_of(square: np.ndarray) -> np.ndarray:
    """Segment ``square``, ``uint8`` (H, W, 3), into connected regions that follow colour edges.

    Superpixels (SLIC, Achanta et al., PAMI 2012) are merged with neighbours by Ward's criterion (JASA 1963): plain skin
    becomes a few large regions, while the lesion stays divided into its parts.

    Returns:
        The number of each pixel's region, integers (H, W) from 0 to at most :data:`REGIONS` - 1.
    """
    superpixels = slic(square, n_segments=SUPERPIXELS, compactness=10, sigma=1, start_label=0)
    superpixels = np.unique(superpixels, return_inverse=True)[1].reshape(superpixels.shape)
    count = int(superpixels.max()) + 1
    if count <= REGIONS:
        return superpixels
    height, width = superpixels.shape
    positions = np.moveaxis(np.mgrid[:height, :width], 0, -1) * (100 * SPATIAL_WEIGHT / height)
    features = np.concatenate([rgb2lab(square), positions], axis=-1).reshape(-1, 5)
    sizes = np.bincount(superpixels.ravel())
    means = np.stack([np.bincount(superpixels.ravel(), feature) / sizes for feature in features.T], axis=1)
    clustering = AgglomerativeClustering(REGIONS, connectivity=_adjacency(superpixels, count), linkage="ward")
    return clustering.fit_predict(means)[superpixels]


def _adjacency(segments: np.ndarray, count: int) -> csr_array:
    """Which of ``count`` segments touch: a symmetric boolean matrix (count, count)."""
    touching = np.zeros((count, count), bool)
    touching[segments[:, :-1], segments[:, 1:]] = True
    touching[segments[:-1], segments[1:]] = True
    return csr_array(touching | touching.T)


def surrounding_colour(square: np.ndarray) -> np.ndarray:
    """Median colour, ``uint8`` (3,), of the border of the square, a tenth of it wide: usually that of the skin."""
    border = max(1, min(square.shape[:2]) // 10)
    inside = np.zeros(square.shape[:2], bool)
    inside[border:-border, border:-border] = True
    outer = square[~inside] if inside.any() else square.reshape(-1, 3)
    return np.median(outer, axis=0).astype(np.uint8)


def paint(square: np.ndarray, hidden: np.ndarray, segments: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Perturbed photographs, ``uint8`` (N, H, W, 3).

    Args:
        square: the photograph, ``uint8`` (H, W, 3).
        hidden: pixels of hidden regions, (H, W, 3), or one colour, (3,).
        segments: the number of each pixel's region, (H, W).
        masks: boolean (N, regions), True where a region is shown.
    """
    return np.where(masks[:, segments][..., None], square, hidden)


def outline(square: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``square`` with a green outline of ``mask``, boolean (H, W), two pixels wide, also along the picture's edge."""
    framed = np.pad(mask, 1)
    border = find_boundaries(framed, mode="thick")[1:-1, 1:-1]
    return np.where(border[..., None], np.array(GREEN, np.uint8), square)
