"""What the tests of training share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tiny_ham10000 import make_root


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
