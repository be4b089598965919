"""The explanations that are compared, in one form: ours, the lime package's and Captum's."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import Lime
from lime.lime_image import LimeImageExplainer
from lime.wrappers.scikit_image import SegmentationAlgorithm

from handler.engines.classifier import Sampler
from handler.explain.lime.explainer import Budget, LimeExplainer, MakeSampler

PLAIN_SAMPLES = 1000
"""The default of lime's ``explain_instance``. Captum gets as many: its own default of 25 is too few for photographs."""

UNREACHABLE = 2.0
"""A stability that never stops the sampling."""

Probabilities = Callable[[np.ndarray], np.ndarray]
"""``uint8`` (N, H, W, 3) in, (N, classes) out."""


@dataclass(frozen=True)
class Explained:
    """One explanation.

    Attributes:
        weights: (regions,).
        segments: (H, W), the number of each pixel's region.
        samples: number of perturbed photographs.
        seconds: wall-clock time, segmentation included.
        r2: of the local model; None if the method does not report it.
        r2_with_pairs: of the model with interactions of two, on samples left out; None if there is none.
        stability: the Jaccard index that the method itself estimates; None if it does not.
        reached: whether that is the precision's; None if the method has none.
    """

    weights: np.ndarray
    segments: np.ndarray
    samples: int
    seconds: float
    r2: float | None = None
    r2_with_pairs: float | None = None
    stability: float | None = None
    reached: bool | None = None

    def pixels(self) -> np.ndarray:
        """Each pixel's weight, (H, W)."""
        return self.weights[self.segments]

    def strongest(self, count: int = 5) -> frozenset[int]:
        """The regions with the largest positive weights."""
        ranked = np.argsort(-self.weights, kind="stable")[:count]
        return frozenset(int(region) for region in ranked if self.weights[region] > 0)


PlainExplainer = Callable[[Probabilities, np.ndarray, int, int, int], Explained]
""":func:`lime` or :func:`captum`."""


def ours(sampler: MakeSampler, square: np.ndarray, label: int, precision: Budget, seed: int) -> Explained:
    """An explanation by :mod:`handler.explain.lime.explainer`."""
    result = LimeExplainer(sampler).explain(square, label, precision, seed=seed)
    return Explained(
        weights=result.weights,
        segments=result.segments,
        samples=result.samples,
        seconds=result.seconds,
        r2=result.r2,
        r2_with_pairs=result.r2_with_pairs,
        stability=result.stability,
        reached=result.stability >= result.target,
    )


def recorded(make_sampler: MakeSampler) -> MakeSampler:
    """Samplers for one photograph that classify each mask once, and remember the answer for the next explanation."""
    answers: dict[bytes, np.ndarray] = {}

    def make(square: np.ndarray, hidden: np.ndarray, segments: np.ndarray) -> Sampler:
        sample = make_sampler(square, hidden, segments)

        def run(masks: np.ndarray) -> np.ndarray:
            keys = [mask.tobytes() for mask in masks]
            new = [i for i, key in enumerate(keys) if key not in answers]
            if new:
                answers.update(zip([keys[i] for i in new], sample(masks[new]), strict=True))
            return np.stack([answers[key] for key in keys])

        return run

    return make


def lime(probabilities: Probabilities, square: np.ndarray, label: int, samples: int, seed: int) -> Explained:
    """lime's own explainer with its defaults. Its segmentation is seeded, so that all runs have the same regions."""
    started = time.perf_counter()
    explainer = LimeImageExplainer(random_state=seed)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        result = explainer.explain_instance(
            square, probabilities, labels=(label,), top_labels=None, num_samples=samples, random_seed=0
        )
    weights = np.array([weight for _, weight in sorted(result.local_exp[label])])
    return Explained(weights, result.segments, samples, time.perf_counter() - started, float(result.score))


def captum(probabilities: Probabilities, square: np.ndarray, label: int, samples: int, seed: int) -> Explained:
    """Captum's Lime with its defaults and lime's superpixels, as it has none of its own."""
    started = time.perf_counter()
    segments = SegmentationAlgorithm("quickshift", kernel_size=4, max_dist=200, ratio=0.2, random_seed=0)(square)
    segments = np.unique(segments, return_inverse=True)[1].reshape(segments.shape)

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        images = pixels.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy()
        return torch.from_numpy(np.asarray(probabilities(images)))

    torch.manual_seed(seed)
    attributions = Lime(forward).attribute(
        torch.from_numpy(square.copy()).permute(2, 0, 1)[None].float(),
        target=label,
        feature_mask=torch.from_numpy(segments)[None, None],
        n_samples=samples,
        perturbations_per_eval=10,
    )
    weights = np.zeros(segments.max() + 1)
    weights[segments] = attributions[0, 0].numpy()
    return Explained(weights, segments, samples, time.perf_counter() - started)
