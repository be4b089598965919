"""Requests in, answers out: one forward pass for a whole batch, each request with its own outcome."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from handler import contract
from handler.classifier import Checkpoint, Classifier
from handler.contract import CLASSES, MALIGNANT, Answer, ContractError, Request, refuse
from handler.explainer import PRECISIONS, Explainer, Explanation
from handler.images import SIZE, ImageError, network_square, open_photograph
from handler.jobs import Cancelled, Job

logger = logging.getLogger(__name__)


class Predictor:
    """A loaded model that answers batches of requests.

    Args:
        path: a checkpoint of ``train/main_train.py``.
        device: ``"cpu"`` or a CUDA device of torch.
        threads: CPU threads; all cores unless given.

    Raises:
        handler.classifier.CheckpointError: ``path`` is no such checkpoint.
    """

    def __init__(self, path: str | Path, device: str = "cpu", threads: int | None = None) -> None:
        checkpoint = Checkpoint.load(path)
        self.model = {
            "architecture": "resnet34",
            "version": hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12],
            "epoch": checkpoint.training.get("epoch"),
        }
        self.classifier = Classifier(checkpoint, device, threads)
        self.explainer = Explainer(self.classifier.sample_probabilities)
        self.classifier.probabilities(np.zeros((1, SIZE, SIZE, 3), np.uint8))  # the first user waits for nothing

    def answer(self, requests: list[Request | ContractError], jobs: list[Job] | None = None) -> list[Answer]:
        """An answer for each request, in order. A request that fails does not touch the others.

        ``jobs`` says how long each may take, who hears of its progress, and whether anybody still waits for it.
        """
        jobs = jobs or [Job()] * len(requests)
        squares: dict[int, np.ndarray] = {}
        answers: dict[int, Answer] = {}
        for i, request in enumerate(requests):
            try:
                if isinstance(request, ContractError):
                    raise request
                squares[i] = network_square(open_photograph(request.image))
            except ContractError as error:
                answers[i] = refuse(error.status, str(error))
            except ImageError as error:
                answers[i] = refuse(400, str(error))
            except Exception:
                answers[i] = _fault()
        if squares:
            assessed = zip(*self.classifier.assess(np.stack(list(squares.values()))), strict=True)
            for (i, square), (row, novelty) in zip(squares.items(), assessed, strict=True):
                answers[i] = self._answer_one(requests[i], jobs[i], square, row, float(novelty))
        return [answers[i] for i in range(len(requests))]

    def _answer_one(self, request: Request, job: Job, square: np.ndarray, row: np.ndarray, novelty: float) -> Answer:
        try:
            label = int(row.argmax())
            explanation = None
            if request.explain:
                job.progress(0.0)
                explanation = self.explainer.explain(
                    square, label, PRECISIONS[request.precision], job.progress, job.seconds_left()
                )
            answer = contract.success(
                self.classifier.classes[label],
                row[label],
                explain=None if explanation is None else explanation.overlay.tolist(),
                details=self._details(row, novelty, request, explanation) if request.details else None,
            )
            return Answer(200, contract.dump(answer))
        except Cancelled:
            return refuse(503, "nobody waited for the answer any more")
        except Exception:
            return _fault()

    def _details(
        self, row: np.ndarray, novelty: float, request: Request, explanation: Explanation | None
    ) -> dict[str, Any]:
        details: dict[str, Any] = {
            "probabilities": {
                CLASSES[c]: round(float(p), contract.DIGITS) for c, p in zip(self.classifier.classes, row, strict=True)
            },
            "malignant": self._malignant(row),
            "out_of_distribution": None
            if math.isnan(novelty)
            else {"score": round(novelty, contract.DIGITS), "flagged": novelty > 1},
            "model": self.model,
            "explanation": None,
        }
        if explanation is not None:
            details["explanation"] = {
                "precision": request.precision,
                "samples": explanation.samples,
                "seconds": round(explanation.seconds, 3),
                "r2": round(explanation.r2, 4),
                "stability": round(explanation.stability, 4),
                "target": explanation.target,
                "reached": explanation.stability >= explanation.target,
                "stopped": explanation.stopped,
                "regions": {
                    "map": _png(explanation.lime.segments),
                    "weights": [round(float(w), 6) for w in explanation.weights],
                    "standard_errors": [round(float(e), 6) for e in explanation.standard_errors],
                },
            }
        return details

    def _malignant(self, row: np.ndarray) -> dict[str, Any] | None:
        """The malignant diagnoses together: many a melanoma is not the most probable class, and still no trifle."""
        threshold = self.classifier.checkpoint.malignant_threshold
        if threshold is None:
            return None
        together = float(row[[c in MALIGNANT for c in self.classifier.classes]].sum())
        return {
            "probability": round(together, contract.DIGITS),
            "threshold": round(threshold, contract.DIGITS),
            "flagged": together >= threshold,
        }


def _png(segments: np.ndarray) -> str:
    """The regions' numbers (H, W), below 256, as a grey PNG file in base64: a few kilobytes."""
    buffer = io.BytesIO()
    Image.fromarray(segments.astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _fault() -> Answer:
    logger.exception("a request failed")
    return refuse(500, "the photograph could not be classified or explained: a fault of the service, see its log")
