"""Batches of requests, with an engine that fails on black squares."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from api.answer import Prediction
from api.classes import CLASSES
from api.flat import flat
from api.pictures import overlay_png, read_map
from api.request import ContractError, Precision, Request
from frontend import explanation
from handler.engines.graphs import ModelInfo
from handler.explain import Explanation, Progress
from handler.jobs import Cancelled, Job
from handler.model.calibration import BiasSetting, FlagRates
from handler.predictor import Predictor


class StubClassifier:
    """An engine without a network."""

    def __init__(self) -> None:
        self.classes = list(CLASSES)
        self.batch = 32

    def assess(self, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full((len(squares), 7), 1 / 7, np.float32), np.zeros(len(squares), np.float32)

    def sampler(
        self, square: np.ndarray, hidden: np.ndarray, segments: np.ndarray
    ) -> Callable[[np.ndarray], np.ndarray]:
        return lambda masks: self.assess(masks)[0]


@pytest.fixture(scope="module")
def loaded() -> Predictor:
    return Predictor(StubClassifier(), ModelInfo("0123456789abcdef", list(CLASSES), 0.07, 22, FlagRates(0.95, 0.32)))


@pytest.fixture
def predictor(loaded: Predictor, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    """Its engine gives melanoma 0.4 and each other class 0.1, and fails on black squares."""

    def assess(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if (squares.reshape(len(squares), -1).max(axis=1) == 0).any():
            raise RuntimeError("planted")
        rows = np.full((len(squares), 7), 0.1, np.float32)
        rows[:, 4] = 0.4
        return rows, np.full(len(squares), 0.5, np.float32)

    monkeypatch.setattr(loaded.classifier, "assess", assess)
    return loaded


@pytest.fixture(scope="module")
def photograph(example_images: list[Path]) -> bytes:
    return example_images[0].read_bytes()


@pytest.fixture(scope="module")
def black(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("black") / "black.png"
    Image.new("RGB", (64, 64)).save(path)
    return path.read_bytes()


def test_a_photograph_on_which_the_engine_fails_affects_no_other(
    predictor: Predictor, photograph: bytes, black: bytes, caplog
):
    requests = [
        Request(photograph),
        Request(black),
        ContractError("bad", 413),
        Request(b"no image"),
        Request(photograph),
    ]
    answers = predictor.answer(requests)
    assert [a.status for a in answers] == [200, 500, 413, 400, 200]
    assert b"planted" not in answers[1].body and "planted" in caplog.text


def test_if_the_engine_always_fails_every_answer_is_500(predictor: Predictor, black: bytes):
    assert [a.status for a in predictor.answer([Request(black)] * 2)] == [500, 500]
    assert predictor.answer([]) == []


def test_details_describe_the_photograph(predictor: Predictor, photograph: bytes):
    answer = json.loads(predictor.answer([Request(photograph, details=True)])[0].body)
    assert answer["prediction"] == "Melanoma" and answer["probability"] == 0.4
    assert answer["details"]["probabilities"] == {name: 0.4 if name == "Melanoma" else 0.1 for name in CLASSES.values()}
    malignant = answer["details"]["malignant"]
    assert malignant["probability"] == pytest.approx(0.6)
    assert (malignant["sensitivity"], malignant["false_alarm_rate"]) == (0.95, 0.32)
    assert answer["details"]["out_of_distribution"] == {"score": 0.5, "flagged": False}
    assert answer["details"]["explanation"] is None


class Occlusion:
    """Another method of explanation: hides one quarter of the photograph at a time."""

    def __init__(self, probabilities: Callable[[np.ndarray], np.ndarray]) -> None:
        self.probabilities = probabilities

    def explain(
        self,
        square: np.ndarray,
        label: int,
        precision: Precision,
        progress: Progress | None = None,
        seconds: float | None = None,
    ) -> Explanation:
        half = np.arange(len(square)) // (len(square) // 2)
        segments = 2 * half[:, None] + half
        hidden = np.stack([np.where((segments == n)[..., None], square.mean((0, 1)), square) for n in range(4)])
        whole, *others = np.log(self.probabilities(np.concatenate([square[None], hidden]).astype(np.uint8))[:, label])
        if progress:
            progress(1.0)
        return Explanation(overlay=square, segments=segments, weights=whole - others, samples=5, seconds=0.1)


def test_another_method_of_explanation_is_one_other_explainer(photograph: bytes):
    def probabilities(squares: np.ndarray) -> np.ndarray:
        """Of a melanoma: the more varied the upper left quarter is."""
        spread = squares[:, :112, :112].std(axis=(1, 2, 3)) / 256
        return np.stack([1 - spread, spread], axis=1)

    classifier = StubClassifier()
    classifier.classes = ["nv", "mel"]
    classifier.assess = lambda squares: (probabilities(squares), np.zeros(len(squares), np.float32))
    info = ModelInfo("0123456789abcdef", classifier.classes, 0.07, 22)
    predictor = Predictor(classifier, info, explainer=Occlusion(probabilities))
    reported = []
    (answer,) = predictor.answer([Request(photograph, explain=True, details=True)], [Job(on_progress=reported.append)])
    prediction = msgspec.json.decode(answer.body, type=Prediction)
    figures = prediction.details.explanation
    assert answer.status == 200 and np.array(prediction.explain).shape == (224, 224, 3) and reported == [0.0, 1.0]
    assert np.unique(read_map(figures.regions.map)).tolist() == [0, 1, 2, 3]
    assert np.argmax(np.abs(figures.regions.weights)) == 0 and figures.regions.weights[1:] == [0, 0, 0]
    assert figures.samples == 5 and figures.stability is figures.reached is figures.regions.standard_errors is None
    # What shows answers does without the figures that the method lacks.
    assert flat(prediction)["samples"] == 5 and flat(prediction)["stability"] is None
    assert overlay_png(Image.open(io.BytesIO(photograph)), figures.regions, "outline")
    assert "unknown reliability" in explanation.view(Image.open(io.BytesIO(photograph)), "Melanoma", figures, id="a")


def test_details_say_that_the_bias_is_not_the_models_own(loaded: Predictor, photograph: bytes):
    """Threshold and figures of the flag are those of the chosen bias; the novelty score is what it was."""
    info = ModelInfo("0123456789abcdef", list(CLASSES), 0.07, 22, FlagRates(0.95, 0.32))
    bias = BiasSetting(0.6, 1.0, dict.fromkeys(CLASSES, 0.0), 0.5, FlagRates(0.96, 0.36))
    details = [
        json.loads(Predictor(StubClassifier(), info, chosen).answer([Request(photograph, details=True)])[0].body)
        for chosen in (None, bias)
    ]
    own, moved = (answer["details"] for answer in details)
    assert (own["model"]["bias_strength"], moved["model"]["bias_strength"]) == (None, 0.6)
    assert own["malignant"] == {
        "probability": 0.4286, "threshold": 0.07, "flagged": True, "sensitivity": 0.95, "false_alarm_rate": 0.32
    }  # fmt: skip
    assert moved["malignant"] == {
        "probability": 0.4286, "threshold": 0.5, "flagged": False, "sensitivity": 0.96, "false_alarm_rate": 0.36
    }  # fmt: skip
    assert own["out_of_distribution"] == moved["out_of_distribution"]


def test_plausible_diagnoses_are_named_the_most_probable_first(
    predictor: Predictor, photograph: bytes, monkeypatch: pytest.MonkeyPatch
):
    row = np.array([[0.05, 0.2, 0.0, 0.01, 0.3, 0.39, 0.05]], np.float32)
    monkeypatch.setattr(predictor.classifier, "assess", lambda squares: (row, np.zeros(1, np.float32)))
    named = []
    for threshold in (None, 0.5, 0.05):
        monkeypatch.setattr(predictor, "plausible_threshold", threshold)
        answer = json.loads(predictor.answer([Request(photograph, details=True)])[0].body)
        named.append(answer["details"]["plausible"])
    five = ["Melanocytic nevi", "Melanoma", "Basal cell carcinoma", "Actinic keratoses", "Vascular lesions"]
    assert named == [None, five[:1], five]


def test_plausible_diagnoses_are_those_of_the_chosen_bias(photograph: bytes):
    info = ModelInfo("0123456789abcdef", list(CLASSES), None, 22, plausible_threshold=0.1)
    bias = BiasSetting(0.6, 1.0, dict.fromkeys(CLASSES, 0.0), None, plausible_threshold=0.3)
    older = BiasSetting(0.6, 1.0, dict.fromkeys(CLASSES, 0.0), None)
    thresholds = [Predictor(StubClassifier(), info, b).plausible_threshold for b in (None, bias, older)]
    assert thresholds == [0.1, 0.3, None]


@pytest.mark.parametrize("novelty, expected", [(np.nan, None), (1.25, {"score": 1.25, "flagged": True})])
def test_an_unknown_novelty_score_is_null(predictor: Predictor, photograph: bytes, monkeypatch, novelty, expected):
    row = np.full((1, 7), 1 / 7, np.float32)
    monkeypatch.setattr(predictor.classifier, "assess", lambda squares: (row, np.array([novelty], np.float32)))
    answer = json.loads(predictor.answer([Request(photograph, details=True)])[0].body)
    assert answer["details"]["out_of_distribution"] == expected


def test_nan_probabilities_are_a_fault(predictor: Predictor, photograph: bytes, monkeypatch):
    rows = np.full((1, 7), np.nan, np.float32)
    monkeypatch.setattr(predictor.classifier, "assess", lambda squares: (rows, np.zeros(1, np.float32)))
    assert predictor.answer([Request(photograph)])[0].status == 500


def test_a_cancelled_request_affects_no_other(predictor: Predictor, photograph: bytes):
    def cancelled(share: float) -> None:
        raise Cancelled("planted")

    requests = [Request(photograph, explain=True, precision="Faible"), Request(photograph)]
    answers = predictor.answer(requests, [Job(on_progress=cancelled), Job()])
    assert [a.status for a in answers] == [503, 200]
