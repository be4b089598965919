"""What a model predicts for photographs of diseases that are none of its classes."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
from msgspec import Struct

from api.classes import CLASSES
from evaluate import metrics
from evaluate.bootstrap import Bootstrap, Estimate
from evaluate.predictions import NOVELTY_LIMIT, OtherDiseasePredictions, malignant_scores
from handler.model.calibration import plausible


class DiseaseMetrics(Struct, frozen=True):
    """Predictions for the photographs of one disease.

    Attributes:
        malignant_flag: share that is flagged as malignant; None if the model has no threshold for that.
        novelty_flag: share that is flagged as unlike the training images; None if their novelty is not known.
        set_size: mean number of diagnoses that cannot be excluded; None if the model has no threshold for that.
        diagnoses: share of each class as the most probable one.
        sources: metrics of each source, if there are several.
    """

    images: int
    malignant_flag: Estimate | None
    novelty_flag: Estimate | None
    set_size: Estimate | None
    diagnoses: dict[str, Estimate]
    sources: dict[str, DiseaseMetrics] = {}


def disease_metrics(predictions: OtherDiseasePredictions, resamples: int, seed: int) -> dict[str, DiseaseMetrics]:
    """Metrics of each disease by its ``dx``, that with the most images first.

    The images of each disease are resampled alone: how common it is elsewhere does not matter.
    """
    dx = np.array([e.dx for e in predictions.examples])
    source = np.array([e.source for e in predictions.examples])
    predicted, novelty = predictions.probabilities.argmax(1), predictions.novelty
    malignant, least = predictions.malignant_threshold, predictions.plausible_threshold
    flagged = None if malignant is None else malignant_scores(predictions.probabilities) >= malignant
    novel = None if novelty is None else novelty > NOVELTY_LIMIT
    sizes = None if least is None else plausible(predictions.probabilities, least).sum(1)

    def metrics_of(member: np.ndarray) -> DiseaseMetrics:
        bootstrap = Bootstrap(np.arange(member.sum()), resamples, seed)

        def mean(values: np.ndarray | None) -> Estimate | None:
            return None if values is None else bootstrap.estimate(partial(metrics.mean, values[member]))

        sources = _by_frequency(source[member])
        return DiseaseMetrics(
            images=int(member.sum()),
            malignant_flag=mean(flagged),
            novelty_flag=mean(novel),
            set_size=mean(sizes),
            diagnoses={
                name: bootstrap.estimate(partial(metrics.mean, predicted[member] == i))
                for i, name in enumerate(CLASSES)
            },
            sources={name: metrics_of(member & (source == name)) for name in sources} if len(sources) > 1 else {},
        )

    return {name: metrics_of(dx == name) for name in _by_frequency(dx)}


def _by_frequency(names: np.ndarray) -> list[str]:
    return [name for name, _ in Counter(names.tolist()).most_common()]
