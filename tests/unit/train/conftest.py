"""What the tests of training share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tiny_ham10000 import make_root
from train import calibrate


@pytest.fixture(scope="session", autouse=True)
def few_images_for_quantisation():
    """Networks of a few steps: how well they are rounded is for tests/unit/handler to say."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "QUANTISATION_IMAGES", 8)
        yield


@pytest.fixture
def root(tmp_path) -> Path:
    """A tiny data set of the test's own."""
    return make_root(tmp_path / "ham10000")


@pytest.fixture(scope="session")
def one_thread():
    """One thread for torch, which networks on tiny images are fastest with."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
