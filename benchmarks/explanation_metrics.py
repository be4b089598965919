"""Metrics of explanations, by Quantus where it has them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

import numpy as np
import torch
from skimage.filters import gaussian
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import quantus

from benchmarks.explainers import Explained, Probabilities

STEPS_PER_CHANNEL = 7
"""Of pixel flipping; Quantus requires a divisor of the number of pixels."""

BINS = (0.0, 0.6, 0.7, 0.8, 0.9, 0.95, 1.01)
"""Of the stability that explanations estimate, for its calibration."""

BLUR = 16
"""Standard deviation in pixels of the blur that stands in for removed pixels."""


def jaccard(explanations: list[Explained]) -> float:
    """Mean Jaccard index of the five strongest regions over all pairs of explanations."""
    tops = [e.strongest() for e in explanations]
    pairs = [(a, b) for i, a in enumerate(tops) for b in tops[:i]]
    return float(np.mean([len(a & b) / max(len(a | b), 1) for a, b in pairs]))


def distance(explained: Explained, converged: Explained) -> float:
    """Euclidean distance of the weights, relative to the norm of the converged ones."""
    length = float(np.linalg.norm(converged.weights))
    return float(np.linalg.norm(explained.weights - converged.weights) / max(length, 1e-12))


def spread(runs: list[Explained]) -> float:
    """Estimated :func:`distance` of either of two independent explanations to what their method converges to."""
    first, second = (run.weights for run in runs)
    length = float(np.linalg.norm(first + second) / 2)
    return float(np.linalg.norm(first - second) / np.sqrt(2) / max(length, 1e-12))


def calibration(pairs: Iterable[tuple[float, float]]) -> list[dict[str, float]]:
    """Pairs of explanations, as the stability that they estimate and the Jaccard index found, grouped by the former."""
    pairs = list(pairs)
    table = []
    for low, high in zip(BINS, BINS[1:], strict=False):
        if group := [pair for pair in pairs if low <= pair[0] < high]:
            estimated, found = np.mean(group, axis=0).tolist()
            table.append({"from": low, "pairs": len(group), "estimated": estimated, "found": found})
    return table


def print_calibration(table: list[dict[str, float]]) -> None:
    """Print what :func:`calibration` made."""
    print("\n| stability estimated, from | pairs | mean | found |\n" + "| --- " * 4 + "|")
    for row in table:
        print(f"| {row['from']:.2f} | {row['pairs']} | {row['estimated']:.3f} | {row['found']:.3f} |")


def overlap(explained: Explained, lesion: np.ndarray) -> float:
    """Share of the positive weight on the lesion, boolean (H, W); NaN if no weight is positive.

    Quantus' relevance mass accuracy (Arras, Osman, Samek, "CLEVR-XAI", 2022).
    """
    positive = np.clip(explained.pixels(), 0, None)
    if not positive.any():
        return float("nan")
    metric = quantus.RelevanceMassAccuracy(normalise=False, abs=False, disable_warnings=True)
    (score,) = metric(
        model=None, x_batch=lesion[None, None], y_batch=np.zeros(1, int), a_batch=positive[None, None],
        s_batch=lesion[None, None], channel_first=True,
    )  # fmt: skip
    return float(score)


def without_details(square: np.ndarray, blur: float = BLUR) -> np.ndarray:
    """A blurred photograph, ``uint8`` (H, W, 3): what Petsiuk et al. insert pixels into. ``blur`` is in pixels."""
    return (gaussian(square / 255.0, blur, channel_axis=2) * 255).astype(np.uint8)


def deletion_and_insertion(
    probabilities: Probabilities, square: np.ndarray, removed: np.ndarray, label: int, explained: Explained
) -> tuple[float, float]:
    """Areas under the deletion and insertion curves: mean probability while the highest-ranked pixels go or return.

    Petsiuk, Das, Saenko, "RISE", BMVC 2018, by Quantus' pixel flipping (Bach et al., PLOS ONE 2015). ``removed``,
    ``uint8`` (H, W, 3), has the pixels that stand in for those of ``square`` that are gone.
    """
    # Ties within a region are broken at random, alike in the three channels of a pixel.
    ties = np.random.default_rng(0).random(square.shape[:2]) * 1e-9
    ranking = explained.pixels() / max(float(np.abs(explained.weights).max()), 1e-12) + ties
    return (
        float(np.mean(_flipped(probabilities, square, removed, label, ranking))),
        float(np.mean(_flipped(probabilities, removed, square, label, ranking))),
    )


def _flipped(
    probabilities: Probabilities, start: np.ndarray, end: np.ndarray, label: int, ranking: np.ndarray
) -> np.ndarray:
    """The class's probabilities while ``start`` becomes ``end``, the highest-ranked pixels first."""
    target = _channels_first(end).reshape(1, -1)

    def replace(arr: np.ndarray, indices: np.ndarray, **_: object) -> np.ndarray:
        arr = arr.copy()
        np.put_along_axis(arr, indices, np.take_along_axis(target, indices, 1), 1)
        return arr

    metric = quantus.PixelFlipping(
        features_in_step=start.shape[0] * start.shape[1] // STEPS_PER_CHANNEL,
        perturb_func=replace,
        normalise=False,
        disable_warnings=True,
    )
    (curve,) = metric(
        model=_Torch(probabilities).eval(),
        x_batch=_channels_first(start),
        y_batch=np.array([label]),
        a_batch=np.broadcast_to(ranking, (1, 3, *ranking.shape)).copy(),
        channel_first=True,
        softmax=False,
    )
    return np.asarray(curve)


def randomised_weights(
    network: nn.Module, squares: np.ndarray, labels: np.ndarray, explain: Callable[..., Explained]
) -> list[float]:
    """Rank correlation of explanations with those of a network with random weights, which should be near 0.

    Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, by Quantus. ``explain`` takes probabilities, a
    square and a label.
    """

    def explain_batch(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: object) -> np.ndarray:
        def probabilities(images: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return model(torch.from_numpy(_channels_first(images))).numpy()

        images = np.asarray(inputs).transpose(0, 2, 3, 1).astype(np.uint8)
        maps = [explain(probabilities, i, int(t)).pixels() for i, t in zip(images, targets, strict=True)]
        return np.stack(maps)[:, None]

    metric = quantus.MPRT(
        similarity_func=quantus.correlation_spearman,
        skip_layers=True,
        return_last_correlation=True,
        normalise=False,
        abs=False,
        disable_warnings=True,
    )
    scores = metric(
        model=network.eval(),
        x_batch=_channels_first(squares),
        y_batch=labels,
        explain_func=explain_batch,
        channel_first=True,
        softmax=False,
    )
    return [float(s) for s in np.asarray(scores, np.float64).ravel()]


def _channels_first(images: np.ndarray) -> np.ndarray:
    """``float32`` (N, 3, H, W) of (N, H, W, 3) or one (H, W, 3)."""
    return np.ascontiguousarray(images.reshape(-1, *images.shape[-3:]).transpose(0, 3, 1, 2), np.float32)


class _Torch(nn.Module):
    """A function of numpy images as the module that Quantus requires."""

    def __init__(self, probabilities: Probabilities) -> None:
        super().__init__()
        self.probabilities = probabilities

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        images = pixels.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy()
        return torch.from_numpy(np.asarray(self.probabilities(images)))
