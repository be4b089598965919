"""The evaluation with the model that ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluate import main_evaluate
from evaluate.predictions import Predictions
from handler.engines.classifier import Classifier
from handler.model.checkpoint import Checkpoint
from handler.model.images import read_square
from tests.conftest import ROOT


def test_the_engine_that_serves_is_evaluated(tmp_path: Path, example_images: list[Path]):
    names = [p.name for p in example_images]
    (tmp_path / "labels.csv").write_text("\n".join(["file,dx", *(f"{name},nv" for name in names)]))
    arguments = ["--images", example_images[0].parent, "--labels", tmp_path / "labels.csv"]
    arguments += ["--output", tmp_path / "card", "--resamples", 5]
    assert main_evaluate.main([str(a) for a in arguments]) == 0
    classifier = Classifier(Checkpoint.load(ROOT / "model_store/model_mlbio.pth"), arithmetic="float32")
    squares = np.stack([read_square(p.read_bytes()) for p in example_images])
    answers = Predictions.read(tmp_path / "card/probabilities.csv").probabilities
    np.testing.assert_allclose(answers, classifier.probabilities(squares), atol=1e-5)
