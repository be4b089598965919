"""Answers to batches of requests: one forward pass per batch, and an independent outcome for each request."""

from __future__ import annotations

import base64
import io
import logging
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import UNSET
from PIL import Image

from api.answer import (
    DECIMALS,
    Answer,
    Details,
    ExplanationFigures,
    Malignant,
    Model,
    OutOfDistribution,
    Pair,
    Prediction,
    Regions,
    refuse,
    succeed,
)
from api.classes import CLASSES, MALIGNANT, class_indices
from api.logs import EXTRA
from api.photograph import ImageError
from api.request import ContractError, Precision, Request
from handler.engines.classifier import Classifier
from handler.engines.graphs import Graphs, ModelInfo
from handler.jobs import Cancelled, Job
from handler.model.calibration import BiasSetting, chosen_bias, plausible
from handler.model.images import SIZE, read_square

if TYPE_CHECKING:
    from handler.explain import Explainer, Explanation

logger = logging.getLogger(__name__)

FAULT = "the photograph could not be classified or explained: a fault of the service, see its log"

CANCELLED = "the request was cancelled"

Assessment = tuple[np.ndarray, float]
"""Probabilities (classes,) and novelty score of one photograph."""


class Predictor:
    """A loaded model that answers batches of requests.

    Args:
        classifier: the network.
        model: its checkpoint's metadata.
        bias: the classifier's, if it is not the model's own; its thresholds and flag rates replace the model's.
        explainer: of predictions (default: LIME).
    """

    def __init__(
        self,
        classifier: Classifier,
        model: ModelInfo,
        bias: BiasSetting | None = None,
        explainer: Explainer | None = None,
    ) -> None:
        self.classifier = classifier
        self._explainer = explainer
        self.model = Model(
            architecture=model.architecture,
            version=model.version,
            epoch=model.epoch,
            bias_strength=None if bias is None else bias.strength,
        )
        fitted = model if bias is None else bias
        self.malignant_threshold, self.flag = fitted.malignant_threshold, fitted.flag
        self.plausible_threshold = fitted.plausible_threshold
        self.classifier.assess(np.zeros((1, SIZE, SIZE, 3), np.uint8))  # warm-up: the first pass is slow

    @classmethod
    def from_checkpoint(cls, path: Path, device: str = "cpu", threads: int | None = None) -> Predictor:
        """Load a checkpoint of ``train/main_train.py``; ``device`` is ``"cpu"`` or a CUDA device of torch.

        Raises:
            handler.model.checkpoint.CheckpointError: ``path`` is not such a checkpoint.
            handler.model.calibration.BiasError: ``MLBIO_BIAS_STRENGTH`` is not on its curve.
        """
        from handler.engines.convert import model_info
        from handler.model.checkpoint import Checkpoint

        checkpoint = Checkpoint.load(path)
        model = model_info(path, checkpoint)
        bias = chosen_bias(model.biases)
        return cls(Classifier(checkpoint, device, threads, bias=bias), model, bias)

    @classmethod
    def from_graphs(cls, folder: Path, checkpoint: Path, threads: int | None = None) -> Predictor:
        """Load the graphs of the file ``checkpoint`` from ``folder``, without torch.

        Raises:
            handler.engines.graphs.GraphsError: they are missing, damaged, or belong to another checkpoint.
            handler.model.calibration.BiasError: ``MLBIO_BIAS_STRENGTH`` is not on the model's curve.
        """
        graphs, model = Graphs.load(folder, checkpoint)
        bias = chosen_bias(model.biases)
        return cls(Classifier(graphs, threads=threads, classes=model.classes, bias=bias), model, bias)

    @cached_property
    def explainer(self) -> Explainer:
        """LIME is imported on first use: lime and scikit-learn take seconds and 150 MB."""
        if self._explainer is not None:
            return self._explainer
        from handler.explain.lime.explainer import LimeExplainer

        return LimeExplainer(self.classifier.sampler, self.classifier.batch)

    def answer(self, requests: Sequence[Request | ContractError], jobs: list[Job] | None = None) -> list[Answer]:
        """Answer the requests, in order. A request that fails does not affect the others.

        Args:
            requests: valid requests, and the errors of invalid ones.
            jobs: the job of each request (default: no deadlines and no progress reports).
        """
        jobs = jobs or [Job()] * len(requests)
        return self.answer_decoded(requests, [self.decode(*pair) for pair in zip(requests, jobs, strict=True)], jobs)

    @staticmethod
    def decode(request: Request | ContractError, job: Job | None = None) -> np.ndarray | Answer:
        """The square of a request's photograph, uint8 (224, 224, 3), or an error answer."""
        job = job or Job()
        try:
            job.raise_if_cancelled()
            if isinstance(request, ContractError):
                raise request
            return read_square(request.image)
        except Exception as error:
            return _refusal(error, job)

    def answer_decoded(
        self,
        requests: Sequence[Request | ContractError],
        decoded: list[np.ndarray | Answer],
        jobs: list[Job] | None = None,
    ) -> list[Answer]:
        """As :meth:`answer`, for photographs that :meth:`decode` has decoded."""
        jobs = jobs or [Job()] * len(requests)
        answers = {i: square for i, square in enumerate(decoded) if isinstance(square, Answer)}
        squares = {i: square for i, square in enumerate(decoded) if not isinstance(square, Answer)}
        for i, assessment in zip(squares, self._assess(list(squares.values())), strict=True):
            request = requests[i]
            assert isinstance(request, Request)
            if isinstance(assessment, Answer):
                answers[i] = assessment
            else:
                answers[i] = self._answer_one(request, jobs[i], squares[i], *assessment)
        return [answers[i] for i in range(len(requests))]

    def _assess(self, squares: list[np.ndarray]) -> list[Assessment | Answer]:
        """Probabilities and novelty score of each square, or an error answer if the engine fails on it."""
        if not squares:
            return []
        try:
            probabilities, novelty = self.classifier.assess(np.stack(squares))
            return [(row, float(score)) for row, score in zip(probabilities, novelty, strict=True)]
        except Exception:
            logger.exception("%d photographs could not be classified", len(squares))
            if len(squares) == 1:
                return [refuse(500, FAULT)]
            return [assessment for square in squares for assessment in self._assess([square])]

    def _answer_one(
        self, request: Request, job: Job, square: np.ndarray, probabilities: np.ndarray, novelty: float
    ) -> Answer:
        try:
            label = int(probabilities.argmax())
            explanation = None
            if request.explain:
                job.progress(0.0)
                explanation = self.explainer.explain(square, label, request.precision, job.progress, job.seconds_left())
            return succeed(
                Prediction(
                    prediction=CLASSES[self.classifier.classes[label]],
                    probability=_rounded(probabilities[label]),
                    explain=None if explanation is None else explanation.overlay.tolist(),
                    details=self._details(probabilities, novelty, request.precision, explanation)
                    if request.details
                    else UNSET,
                )
            )
        except Exception as error:
            return _refusal(error, job)

    def _details(
        self, probabilities: np.ndarray, novelty: float, precision: Precision, explanation: Explanation | None
    ) -> Details:
        return Details(
            probabilities={
                CLASSES[code]: _rounded(p) for code, p in zip(self.classifier.classes, probabilities, strict=True)
            },
            malignant=self._malignant(probabilities),
            out_of_distribution=None
            if math.isnan(novelty)
            else OutOfDistribution(score=_rounded(novelty), flagged=novelty > 1),
            model=self.model,
            explanation=None if explanation is None else _figures(explanation, precision),
            plausible=self._plausible(probabilities),
        )

    def _malignant(self, probabilities: np.ndarray) -> Malignant | None:
        """Sum of the malignant diagnoses: a melanoma is often not the top class and must still be flagged."""
        threshold = self.malignant_threshold
        if threshold is None:
            return None
        total = float(probabilities[class_indices(MALIGNANT, self.classifier.classes)].sum())
        return Malignant(
            probability=_rounded(total),
            threshold=_rounded(threshold),
            flagged=bool(total >= threshold),
            sensitivity=None if self.flag is None else _rounded(self.flag.sensitivity),
            false_alarm_rate=None if self.flag is None else _rounded(self.flag.false_alarm_rate),
        )

    def _plausible(self, probabilities: np.ndarray) -> list[str] | None:
        """Names of the plausible diagnoses, the most probable first."""
        if self.plausible_threshold is None:
            return None
        members = plausible(probabilities, self.plausible_threshold)
        # Stable, so that ties are broken as by argmax.
        order = np.argsort(-probabilities, kind="stable")
        return [CLASSES[self.classifier.classes[i]] for i in order if members[i]]


def _figures(explanation: Explanation, precision: Precision) -> ExplanationFigures:
    stability, target = explanation.stability, explanation.target
    return ExplanationFigures(
        precision=precision,
        samples=explanation.samples,
        seconds=_rounded(explanation.seconds, 3),
        r2=_optional(explanation.r2),
        r2_with_pairs=_optional(explanation.r2_with_pairs),
        completeness=_optional(explanation.completeness),
        stability=_optional(stability),
        target=target,
        reached=None if stability is None or target is None else stability >= target,
        stopped=explanation.stopped,
        regions=Regions(
            map=_region_map(explanation.segments),
            weights=[_rounded(w, 6) for w in explanation.weights],
            standard_errors=None
            if explanation.standard_errors is None
            else [_rounded(e, 6) for e in explanation.standard_errors],
            pairs=[Pair(regions=(i, j), interaction=_rounded(value, 6)) for i, j, value in explanation.pairs],
        ),
    )


def _region_map(segments: np.ndarray) -> str:
    """Region numbers (H, W), all below 256, as a greyscale PNG in base64."""
    buffer = io.BytesIO()
    Image.fromarray(segments.astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _rounded(value: float, decimals: int = DECIMALS) -> float:
    """``value`` rounded to ``decimals``.

    Raises:
        ValueError: NaN or infinite, which JSON cannot represent.
    """
    if not math.isfinite(value):
        raise ValueError(f"a figure of the answer is {value}")
    return round(float(value), decimals)


def _optional(value: float | None) -> float | None:
    return None if value is None else _rounded(value)


def _refusal(error: Exception, job: Job) -> Answer:
    """The answer to a request that failed with ``error``, which is logged if it is a fault of the service."""
    match error:
        case Cancelled():
            return refuse(503, CANCELLED)
        case ContractError():
            return refuse(error.status, str(error), error.code)
        case ImageError():
            return refuse(400, str(error), error.code)
    logger.error("a request failed", exc_info=error, extra={EXTRA: {"id": job.request_id}})
    return refuse(500, FAULT)
