"""What the page keeps of an answer."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from api.client import AnswerInterrupted, Client, RequestRefused, ServiceUnreachable
from api.contract import Prediction
from frontend.results import Result, Settings, classify


class Scripted(Client):
    """A client whose service answers, or fails, as it is told."""

    def __init__(self, outcome: Prediction | Exception) -> None:
        super().__init__("http://127.0.0.1:9")
        self.outcome = outcome
        self.options: dict[str, object] = {}

    def predict(self, image: object, **options: object) -> Prediction:
        self.options = options
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def test_a_diagnosis_is_kept_with_its_settings():
    answer = Prediction(prediction="Melanoma", probability=0.5)
    client = Scripted(answer)
    assert classify(client, b"", Settings()) == Result(Settings(), answer)
    assert client.options["explain"] is False


def test_an_explanation_is_kept_as_png():
    settings = Settings(True, "Faible")
    client = Scripted(Prediction(prediction="Melanoma", probability=0.5, explain=[[[1, 2, 3]]]))
    result = classify(client, b"", settings)
    assert result.explanation is not None
    assert np.asarray(Image.open(io.BytesIO(result.explanation))).tolist() == [[[1, 2, 3]]]
    assert (client.options["explain"], client.options["precision"]) == (True, "Faible")


@pytest.mark.parametrize(
    "error", [RequestRefused("the image is empty", 400), AnswerInterrupted("try again"), ServiceUnreachable("no")]
)
def test_only_a_service_that_is_not_there_stops_the_others(error: Exception):
    if isinstance(error, ServiceUnreachable):
        with pytest.raises(ServiceUnreachable):
            classify(Scripted(error), b"", Settings())
    else:
        assert classify(Scripted(error), b"", Settings()).error == str(error)


def test_an_explanation_that_is_no_picture_is_an_error():
    ragged = Prediction(prediction="Melanoma", probability=0.5, explain=[[[1, 2, 3]], []])
    assert classify(Scripted(ragged), b"", Settings(True)).answer is None


def test_settings_describe_themselves():
    assert str(Settings()) == "without explanation"
    assert str(Settings(True, "Faible")) == "with an explanation, precision Faible"
