"""What a model answers to photographs of diseases that are none of its classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from msgspec import Struct

from api.classes import CLASSES
from evaluate import metrics
from evaluate.bootstrap import Bootstrap
from evaluate.dataset import text_of
from evaluate.figures import Figure, figure_of
from evaluate.predictions import NOVELTY_LIMIT, Answers, malignant_scores
from evaluate.sources import OtherDisease
from handler.model.plausible import plausible


class DiseaseFigures(Struct, frozen=True):
    """Answers to the photographs of one disease.

    Attributes:
        malignant_flag: share that is flagged as malignant; None if the model has no threshold for that.
        novelty_flag: share that is flagged as unlike the training images; None if their novelty is not known.
        set_size: mean number of diagnoses that cannot be excluded; None if the model has no threshold for that.
        diagnoses: share of each class as the most probable one.
        sources: figures of each source, if there are several.
    """

    images: int
    malignant_flag: Figure | None
    novelty_flag: Figure | None
    set_size: Figure | None
    diagnoses: dict[str, Figure]
    sources: dict[str, DiseaseFigures] = {}


class OtherAnswers(Answers[OtherDisease]):
    """Answers to photographs of other diseases."""

    def _columns(self) -> dict[str, Iterable[object]]:
        return {
            "file": [e.path.as_posix() for e in self.examples],
            "source": [e.source for e in self.examples],
            "dx": [e.dx for e in self.examples],
        }

    @classmethod
    def _example(cls, path: Path, row: dict[str, str | None]) -> OtherDisease:
        return OtherDisease(Path(row["file"] or ""), text_of(row, "dx"), text_of(row, "source"))


def read(path: Path, sha256: str) -> OtherAnswers | None:
    """The kept answers of the model with this digest; None if there is no such file, or of another model.

    Raises:
        DataError: the file holds something else.
    """
    answers = OtherAnswers.read(path) if path.exists() else None
    return answers if answers and answers.model[1] == sha256 else None


def disease_figures(answers: OtherAnswers, resamples: int, seed: int) -> dict[str, DiseaseFigures]:
    """Figures of each disease by its ``dx``, that with the most images first.

    The images of each disease are resampled alone: how common it is elsewhere does not matter.
    """
    dx = np.array([e.dx for e in answers.examples])
    source = np.array([e.source for e in answers.examples])
    answered, novelty = answers.probabilities.argmax(1), answers.novelty
    malignant, least = answers.malignant_threshold, answers.plausible_threshold
    flagged = None if malignant is None else malignant_scores(answers.probabilities) >= malignant
    novel = None if novelty is None else novelty > NOVELTY_LIMIT
    sizes = None if least is None else plausible(answers.probabilities, least).sum(1)

    def figures(member: np.ndarray) -> DiseaseFigures:
        bootstrap = Bootstrap(np.arange(member.sum()), resamples, seed)

        def mean(values: np.ndarray) -> Figure:
            of_member = values[member]
            return figure_of(bootstrap.estimate(lambda w: metrics.ratio(w @ of_member, w.sum(-1))))

        sources = _by_frequency(source[member])
        return DiseaseFigures(
            images=int(member.sum()),
            malignant_flag=None if flagged is None else mean(flagged),
            novelty_flag=None if novel is None else mean(novel),
            set_size=None if sizes is None else mean(sizes),
            diagnoses={name: mean(answered == i) for i, name in enumerate(CLASSES)},
            sources={name: figures(member & (source == name)) for name in sources} if len(sources) > 1 else {},
        )

    return {name: figures(dx == name) for name in _by_frequency(dx)}


def _by_frequency(names: np.ndarray) -> list[str]:
    return [name for name, _ in Counter(names.tolist()).most_common()]
