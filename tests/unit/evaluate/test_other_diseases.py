"""Answers to photographs of diseases that the model does not know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from api.classes import CLASSES
from evaluate import other_diseases
from evaluate.dataset import DataError
from evaluate.other_diseases import OtherAnswers, disease_figures
from evaluate.sources import OtherDisease
from tests.unit.evaluate.sets import BCC, BKL, MEL, NV, confident


@pytest.fixture
def answers() -> OtherAnswers:
    """Four squamous cell carcinomas of two sources, and two inflammations of one of them."""
    kinds = [("inf", "a"), ("scc", "a"), ("scc", "b"), ("scc", "b"), ("inf", "a"), ("scc", "b")]
    photographs = [OtherDisease(Path(f"{i}.jpg"), dx, source) for i, (dx, source) in enumerate(kinds)]
    probabilities = confident([NV, BCC, BCC, BKL, BKL, MEL])
    probabilities[1, [BCC, BKL]] = 0.5, 0.25
    novelty = np.array([2, 0.5, 1, 1.5, 0, 1.25], np.float32)
    return OtherAnswers(photographs, probabilities, novelty, ("m.pth", "0123456789ab"), 0.75, 0.2)


def test_figures_by_hand(answers):
    figures = disease_figures(answers, 200, 0)
    assert list(figures) == ["scc", "inf"]
    carcinoma, inflammation = figures.values()
    assert (carcinoma.images, inflammation.images) == (4, 2)
    assert carcinoma.malignant_flag.value == 0.5  # 0.6, 0.8, 0.15, 0.8
    assert carcinoma.novelty_flag.value == 0.5 and carcinoma.set_size.value == 1.25
    assert list(carcinoma.diagnoses) == list(CLASSES)
    shares = {dx: figure.value for dx, figure in carcinoma.diagnoses.items() if figure.value}
    assert shares == {"bcc": 0.5, "bkl": 0.25, "mel": 0.25}
    for figure in (carcinoma.malignant_flag, carcinoma.set_size, carcinoma.diagnoses["bcc"]):
        assert figure.low < figure.value < figure.high
    assert {name: part.images for name, part in carcinoma.sources.items()} == {"b": 3, "a": 1}
    assert carcinoma.sources["b"].malignant_flag.value == pytest.approx(2 / 3, abs=1e-6)
    assert inflammation.sources == {} and inflammation.malignant_flag.value == 0


def test_a_flag_that_the_model_does_not_have_has_no_share(answers):
    unknown = replace(answers, novelty=None, malignant_threshold=None, plausible_threshold=None)
    carcinoma = disease_figures(unknown, 2, 0)["scc"]
    assert carcinoma.malignant_flag is carcinoma.novelty_flag is carcinoma.set_size is None
    assert carcinoma.diagnoses["bcc"].value == 0.5


def test_kept_answers_are_those_of_their_model(answers, tmp_path):
    path = tmp_path / "other_diseases.csv"
    assert other_diseases.read(path, "0123456789ab") is None
    answers.write(path)
    assert path.read_text().startswith("file,source,dx,model,sha256,novelty,malignant_threshold,plausible_threshold,")
    again = other_diseases.read(path, "0123456789ab")
    assert again.examples == answers.examples
    assert disease_figures(again, 20, 0) == disease_figures(answers, 20, 0)
    assert other_diseases.read(path, "ffffffffffff") is None
    path.write_text("file,dx\n")
    with pytest.raises(DataError, match="has no column 'akiec'"):
        other_diseases.read(path, "0123456789ab")
