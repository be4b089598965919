"""The training recipe: everything that is not an option of the command line."""

from __future__ import annotations

from dataclasses import dataclass

from train.augment import Augmentation
from train.cameras import Cameras


@dataclass(frozen=True)
class Recipe:
    """How the network is trained. :func:`dataclasses.replace` makes variants; a checkpoint stores the fields."""

    batch_size: int = 64  # over all processes
    learning_rate: float = 5e-4  # peak
    head_learning_rate: float = 2e-3  # peak, of the new last layer
    weight_decay: float = 0.05
    warm_up: float = 0.06  # share of all steps
    label_smoothing: float = 0.05
    sampling_power: float = 0.5  # an image has weight (images of its class) ** -power: 0 keeps frequencies, 1 balances
    ema_decay: float = 0.998
    # (share of the epochs, side of the views in pixels until then)
    sizes: tuple[tuple[float, int], ...] = ((0.25, 128), (0.6, 160), (0.85, 192), (1.0, 224))
    stored_size: int = 256  # side in pixels of the squares kept in memory, of which views are crops
    validation_fraction: float = 0.1  # share of each class's lesions that is held out
    split_seed: int = 0  # independent of --seed: all runs hold out the same lesions and can be compared
    augmentation: Augmentation = Augmentation()
    # Only with other sources; otherwise None, and not part of a run's identity.
    ham10000_share: float | None = None  # of the views; the other sources share the rest ...
    source_power: float | None = None  # ... in proportion to (number of their images) ** power
    least_side: float | None = None  # smaller photographs are left out: shorter side, as a multiple of the views' side

    def image_size(self, epoch: int, epochs: int) -> int:
        """Side of the views in pixels: small first, 224 at the end (progressive resizing, fast.ai, 2018)."""
        return next(size for share, size in self.sizes if (epoch + 1) / epochs <= share)


SEVERAL_SOURCES = Recipe(
    # Crops magnify, so lesions in views of 160 pixels appear nearly as large as in squares of 224 (Touvron et al.,
    # "Fixing the train-test resolution discrepancy", NeurIPS 2019).
    sizes=((0.5, 112), (1.0, 160)),
    augmentation=Augmentation(cameras=Cameras()),
    ham10000_share=0.5,
    source_power=0.5,
    least_side=0.7,
)
"""The recipe with ``--also``."""
