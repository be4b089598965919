"""Segmentation of a photograph into regions, perturbed photographs with some of them hidden, and outlines."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from skimage.color import rgb2lab
from skimage.segmentation import find_boundaries, slic
from sklearn.cluster import AgglomerativeClustering

REGIONS = 18
"""The largest number for which 512 designed masks keep weights free of third-order interactions (see ``masks``)."""

INTERACTION_RANGE = 0.18
"""Distance of two regions' centres, as a share of the square's side, over which closeness falls by a factor of e.

On 24 validation photographs, 0.11 to 0.36 predicted left-out samples about equally well, and no dependence worse.
"""

SUPERPIXELS = 200
SPATIAL_WEIGHT = 0.2
"""Distance in Lab colour that equals a hundredth of the picture's height when superpixels are merged."""

BORDER = 0.2
"""Width of the border that the skin surface is fitted to, as a share of the square's side."""

BORDER_STEP = 7
"""Every seventh of the border's thousands of pixels suffices."""

ROBUST_ITERATIONS = 8
MAX_SCALE = 8.0
"""Largest standard deviation of skin in grey levels; otherwise, a lesion that fills the border would count as skin."""

FLATNESS = 3e-3
"""Ridge penalty per pixel, so that the surface is flat where little of the border is skin."""

TUKEY = 4.685
"""Residuals beyond this many standard deviations have no weight: 95 % efficiency for normal residuals."""

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


def closeness(segments: np.ndarray) -> np.ndarray:
    """Expected relative interaction of regions, (regions, regions), from 0 to 1: it decays with their distance."""
    sizes = np.bincount(segments.ravel())
    positions = np.mgrid[: segments.shape[0], : segments.shape[1]] / len(segments)
    centres = np.stack([np.bincount(segments.ravel(), axis.ravel()) / sizes for axis in positions], axis=1)
    return np.exp(-np.linalg.norm(centres[:, None] - centres, axis=-1) / INTERACTION_RANGE)


def skin_surface(square: np.ndarray) -> np.ndarray:
    """The skin as it would look without the lesion, ``uint8`` (H, W, 3): a smooth surface through the outer fifth.

    Each channel is a quadratic polynomial of x and y, so that shading stays. It is fitted by iteratively reweighted
    least squares with Tukey's biweight (Holland and Welsch, Communications in Statistics 1977), which ignores hair, ink
    and a lesion that reaches the border.
    """
    height, width = square.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    border = np.maximum(np.abs(x), np.abs(y)) > 1 - 2 * BORDER
    design, pixels = terms[border][::BORDER_STEP], square[border][::BORDER_STEP].astype(np.float64)
    lightness = pixels.mean(axis=1)
    centre = np.median(pixels[lightness >= np.median(lightness)], axis=0)  # lesions, hair and ink are darker than skin
    residuals = pixels - centre
    coefficients = np.zeros((design.shape[1], 3))
    coefficients[0] = centre
    for _ in range(ROBUST_ITERATIONS):
        scale = np.clip(np.median(np.abs(residuals), axis=0) / 0.6745, 2.0, MAX_SCALE)  # robust standard deviations
        # One weight per pixel, from all channels, as hair differs from skin in all of them.
        deviation = np.sqrt(((residuals / scale) ** 2).mean(axis=1))
        weight = np.clip(1 - (deviation / TUKEY) ** 2, 0, None) ** 2
        weighted = design * weight[:, None]
        gram = weighted.T @ design + np.diag([0.0, *[FLATNESS * len(design)] * 5])
        coefficients = np.linalg.lstsq(gram, weighted.T @ (pixels - centre), rcond=None)[0]
        coefficients[0] += centre
        residuals = pixels - design @ coefficients
    return (terms @ coefficients).round().clip(0, 255).astype(np.uint8)


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
