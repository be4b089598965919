"""Predictions for photographs of diseases that the model does not know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from api.classes import CLASSES
from evaluate.other_diseases import disease_metrics
from evaluate.predictions import OtherDiseasePredictions
from evaluate.sources import OtherDisease
from tests.unit.evaluate.sets import BCC, BKL, MEL, NV, confident


@pytest.fixture
def predictions() -> OtherDiseasePredictions:
    """Four squamous cell carcinomas of two sources, and two inflammations of one of them."""
    kinds = [("inf", "a"), ("scc", "a"), ("scc", "b"), ("scc", "b"), ("inf", "a"), ("scc", "b")]
    photographs = [OtherDisease(Path(f"{i}.jpg"), dx, source) for i, (dx, source) in enumerate(kinds)]
    probabilities = confident([NV, BCC, BCC, BKL, BKL, MEL])
    probabilities[1, [BCC, BKL]] = 0.5, 0.25
    novelty = np.array([2, 0.5, 1, 1.5, 0, 1.25], np.float32)
    return OtherDiseasePredictions(photographs, probabilities, novelty, ("m.pth", "0123456789ab"), 0.75, 0.2)


def test_metrics_by_hand(predictions):
    diseases = disease_metrics(predictions, 200, 0)
    assert list(diseases) == ["scc", "inf"]
    carcinoma, inflammation = diseases.values()
    assert (carcinoma.images, inflammation.images) == (4, 2)
    assert carcinoma.malignant_flag.value == 0.5  # 0.6, 0.8, 0.15, 0.8
    assert carcinoma.novelty_flag.value == 0.5 and carcinoma.set_size.value == 1.25
    assert list(carcinoma.diagnoses) == list(CLASSES)
    shares = {dx: share.value for dx, share in carcinoma.diagnoses.items() if share.value}
    assert shares == {"bcc": 0.5, "bkl": 0.25, "mel": 0.25}
    for estimate in (carcinoma.malignant_flag, carcinoma.set_size, carcinoma.diagnoses["bcc"]):
        assert estimate.low < estimate.value < estimate.high
    assert {name: part.images for name, part in carcinoma.sources.items()} == {"b": 3, "a": 1}
    assert carcinoma.sources["b"].malignant_flag.value == pytest.approx(2 / 3, abs=1e-6)
    assert inflammation.sources == {} and inflammation.malignant_flag.value == 0


def test_a_flag_that_the_model_does_not_have_has_no_share(predictions):
    unknown = replace(predictions, novelty=None, malignant_threshold=None, plausible_threshold=None)
    carcinoma = disease_metrics(unknown, 2, 0)["scc"]
    assert carcinoma.malignant_flag is carcinoma.novelty_flag is carcinoma.set_size is None
    assert carcinoma.diagnoses["bcc"].value == 0.5


def test_stored_predictions_are_read_exactly(predictions, tmp_path):
    path = tmp_path / "other_diseases.csv"
    predictions.write(path)
    assert path.read_text().startswith("file,source,dx,model,sha256,novelty,malignant_threshold,plausible_threshold,")
    again = OtherDiseasePredictions.read(path)
    assert again.examples == predictions.examples and again.model == predictions.model
    assert disease_metrics(again, 20, 0) == disease_metrics(predictions, 20, 0)
