"""Inference engines, with random weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from handler.engines.classifier import Classifier, fastest_arithmetic, has_bfloat16
from handler.model.checkpoint import Checkpoint
from handler.model.inference import PixelsToProbabilities


@pytest.fixture(scope="module")
def classifier(untrained: Checkpoint) -> Classifier:
    return Classifier(untrained, arithmetic="float32")


def test_probabilities_and_scores_are_those_of_torch(
    classifier: Classifier, untrained: Checkpoint, squares: np.ndarray
):
    with torch.inference_mode():
        expected = PixelsToProbabilities(untrained).eval()(torch.from_numpy(squares))
    probabilities, novelty = classifier.assess(squares)
    assert probabilities.dtype == novelty.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected[0], atol=1e-4)
    np.testing.assert_allclose(novelty, expected[1], rtol=1e-3)


def test_a_batch_has_the_probabilities_of_its_parts(classifier: Classifier, squares: np.ndarray):
    together = classifier.probabilities(np.concatenate([squares] * 3))
    alone = np.concatenate([classifier.probabilities(s[None]) for s in squares])
    assert np.ptp(alone, axis=0).max() > 0.1  # else their order would not show
    np.testing.assert_allclose(together, np.tile(alone, (3, 1)), atol=1e-4)


def test_squares_need_not_be_contiguous(classifier: Classifier, squares: np.ndarray):
    mirrored = squares[:, :, ::-1]
    np.testing.assert_array_equal(classifier.probabilities(mirrored), classifier.probabilities(mirrored.copy()))


def test_the_environment_chooses_the_arithmetic(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLBIO_PRECISION", raising=False)
    assert fastest_arithmetic() == ("bfloat16" if has_bfloat16() else "float32")
    for word, arithmetic in {"float32": "float32", "F32": "float32", "bf16": "bfloat16"}.items():
        monkeypatch.setenv("MLBIO_PRECISION", word)
        assert fastest_arithmetic() == arithmetic
    monkeypatch.setenv("MLBIO_PRECISION", "double")
    with pytest.raises(ValueError, match="MLBIO_PRECISION is 'double': it must be one of float32"):
        fastest_arithmetic()


def test_an_empty_batch_gives_empty_arrays(classifier: Classifier):
    assert classifier.probabilities(np.zeros((0, 224, 224, 3), np.uint8)).shape == (0, 7)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 224, 224, 3), np.float32), ((224, 224, 3), np.uint8)],
)
def test_wrong_input_is_refused(classifier: Classifier, shape: tuple, dtype: type):
    with pytest.raises(ValueError, match="expected uint8"):
        classifier.probabilities(np.zeros(shape, dtype))


def test_a_process_with_few_threads_leaves_the_choice_of_core_to_the_kernel(untrained: Checkpoint, tmp_path: Path):
    """Bound to the first cores, as OpenVINO does it, several such processes would share one core (Linux)."""
    untrained.save(tmp_path / "model.pth")
    code = (
        "import contextlib, os, sys, threading\nimport numpy as np\nfrom pathlib import Path\n"
        "from handler.model.checkpoint import Checkpoint\nfrom handler.engines.classifier import Classifier\n"
        "made = Classifier(Checkpoint.load(Path(sys.argv[1])), threads=1)\n"
        "work = threading.Thread(target=made.assess, args=[np.zeros((16, 224, 224, 3), np.uint8)])\n"
        "work.start()\nseen = set()\n"
        "while work.is_alive():\n"
        "    with contextlib.suppress(ProcessLookupError):\n"
        "        seen |= {len(os.sched_getaffinity(int(t))) for t in os.listdir('/proc/self/task')}\n"
        "print(seen)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.pth")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.strip() == str({len(os.sched_getaffinity(0))})
