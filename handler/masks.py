"""Which regions are shown in each perturbed photograph.

Instead of a coin for each region, masks come in blocks in which every two regions are shown together as often as one
without the other (Hadamard matrices; Plackett and Burman, "The design of optimum multifactorial experiments",
Biometrika 1946), each mask with its opposite (fold-over, antithetic): a region's weight is then not blurred by what
other regions, or pairs of them, do.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import hadamard


def blocks(regions: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Blocks of boolean masks (2 * order, regions) without end; ``order`` is the power of two above ``regions``.

    The first mask of all shows everything. Rows 2k and 2k + 1 of a block are opposites.
    """
    order = 1 << regions.bit_length()
    table = hadamard(order) > 0
    first = True
    while True:
        columns = table[:, 1 + rng.permutation(order - 1)[:regions]]  # the column of ones can vary no region
        if first:
            rows = np.concatenate([[0], 1 + rng.permutation(order - 1)])  # row 0 shows everything
        else:
            rows = rng.permutation(order)
            columns = columns ^ (rng.random(regions) < 0.5)
        half = columns[rows]
        yield np.stack([half, ~half], axis=1).reshape(-1, regions)
        first = False
