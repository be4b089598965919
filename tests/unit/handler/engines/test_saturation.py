"""8-bit arithmetic on CPUs that saturate, and on those that do not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from handler.engines import classifier as engines
from handler.engines.classifier import Classifier
from handler.engines.convert import convert
from handler.engines.graphs import Arithmetic, compile_graph, ov
from handler.engines.quantise import activation_ranges
from handler.engines.saturation import LARGEST_SUM, convolution, largest_sums, saturates, without_saturation
from handler.model.checkpoint import Checkpoint
from handler.model.network import Normalise
from tests.conftest import ROOT

SCALE = 0.5

CPU_INFO = Path("/proc/cpuinfo")
FLAGS = set(CPU_INFO.read_text().split()) if CPU_INFO.is_file() else set()


@pytest.fixture(scope="module")
def rounded(untrained: Checkpoint, squares: np.ndarray) -> Checkpoint:
    """With ranges."""
    pixels = Normalise()(torch.from_numpy(squares).permute(0, 3, 1, 2).float())
    network = untrained.network().fold_batch_norm()
    return replace(untrained, ranges=activation_ranges(network, [pixels]))


def integers_of(graph: ov.Model) -> list[np.ndarray]:
    """The integer weights of each convolution."""
    scaled = [o.input_value(1).get_node() for o in graph.get_ordered_ops() if o.get_type_name() == "Convolution"]
    return [node.input_value(0).get_node().input_value(0).get_node().get_data() for node in scaled]


@pytest.mark.parametrize(
    ("channels", "largest"),
    [([-100, -90], 190), ([100, -90], 100), ([100, 0, 0, 100], 100), ([1, 2, 127], 127)],
)
def test_weights_of_two_channels_are_added_up(channels: list[int], largest: int):
    weights = np.zeros((2, len(channels), 3, 3))
    weights[1, :, 2, 0] = channels
    np.testing.assert_array_equal(largest_sums(weights), [0, largest])


@pytest.mark.parametrize(("arithmetic", "tolerance"), [("float32", 1e-6), ("bfloat16", 2**-8)])
def test_convolutions_keep_what_they_compute(arithmetic: Arithmetic, tolerance: float):
    weights = np.random.default_rng(0).integers(-127, 128, (16, 16, 3, 3))
    weights[8:] //= 2  # these fit already
    graph = convolution(weights, 3, SCALE)
    changed = without_saturation(graph)
    (integers,) = integers_of(changed)
    assert largest_sums(integers.astype(float)).max() <= LARGEST_SUM + 1
    np.testing.assert_array_equal(integers[8:], weights[8:])
    np.testing.assert_array_equal(integers_of(graph)[0], weights)  # the original is left as it was
    pixels = np.random.default_rng(1).integers(0, 256, (1, 16, 3, 3))
    exact = SCALE * (weights * pixels).sum((1, 2, 3))
    found = compile_graph(changed, arithmetic)(pixels.astype(np.float32))[0].ravel()
    np.testing.assert_allclose(found[8:], exact[8:], rtol=tolerance)
    assert np.abs(found - exact).max() < 0.03 * SCALE * 255 * np.abs(weights).sum((1, 2, 3)).max()


def test_the_largest_numbers_do_not_saturate():
    changed = without_saturation(convolution(np.full((16, 16, 1, 1), 127), 1, SCALE))
    found = compile_graph(changed, "float32")(np.full((1, 16, 1, 1), 255, np.float32))[0]
    np.testing.assert_allclose(found, SCALE * 127 * 255 * 16, rtol=0.01)


@pytest.mark.skipif("avx2" not in FLAGS, reason="needs Linux and a CPU with AVX2")
@pytest.mark.skipif("ONEDNN_MAX_CPU_ISA" in os.environ, reason="oneDNN may ignore what the CPU has")
def test_a_cpu_saturates_as_its_flags_say():
    assert saturates() == (not {"avx512_vnni", "avx_vnni", "amx_int8"} & FLAGS)


@pytest.mark.skipif("avx512_vnni" not in FLAGS, reason="needs Linux and a CPU with AVX-512 and VNNI")
def test_a_cpu_without_vnni_saturates():
    """AVX2 cannot be tried this way: OpenVINO chooses layouts for AVX-512 all the same, and results are arbitrary."""
    code = (
        "import numpy as np\n"
        "from handler.engines.graphs import compile_graph\n"
        "from handler.engines.saturation import convolution, saturates, without_saturation\n"
        "changed = without_saturation(convolution(np.full((16, 16, 1, 1), 127), 1))\n"
        "found = compile_graph(changed, 'float32')(np.full((1, 16, 1, 1), 255, np.float32))[0]\n"
        "print(saturates(), bool(np.allclose(found, 127 * 255 * 16, rtol=0.01)))"
    )
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.split() == ["True", "True"]


@pytest.mark.parametrize("saturated", [False, True])
def test_samples_are_near_the_answers(
    rounded: Checkpoint, squares: np.ndarray, saturated: bool, monkeypatch: pytest.MonkeyPatch
):
    """With the weights for CPUs that saturate, and with those for the others."""
    if saturates() and not saturated:
        pytest.skip("needs a CPU whose 8-bit convolutions do not saturate")
    monkeypatch.setattr(engines, "saturates", lambda: saturated)
    classifier = Classifier(rounded)
    errors = np.abs(classifier.sample_probabilities(squares) - classifier.probabilities(squares))
    assert 0 < errors.max() < 0.1


def test_samples_do_not_depend_on_the_arithmetic_of_answers(rounded: Checkpoint, squares: np.ndarray):
    """Else explanations would depend on whether the CPU has bfloat16. This can fail only where it has."""
    exact, fast = (Classifier(rounded, arithmetic=a) for a in ("float32", "bfloat16"))
    np.testing.assert_array_equal(fast.sample_probabilities(squares), exact.sample_probabilities(squares))
    segments = np.indices(squares[0].shape[:2])[0] // 32  # seven stripes
    masks, hidden = np.eye(7, dtype=bool), np.zeros_like(squares[0])
    samples = [made.sampler(squares[0], hidden, segments)(masks) for made in (exact, fast)]
    np.testing.assert_array_equal(*samples)


def test_every_convolution_is_changed(rounded: Checkpoint):
    graph = convert(rounded).samples
    assert graph is not None
    before, after = integers_of(graph), integers_of(without_saturation(graph))
    assert len(before) == len(after) == 36
    assert max(largest_sums(integers.astype(float)).max() for integers in before) > LARGEST_SUM + 1
    assert max(largest_sums(integers.astype(float)).max() for integers in after) <= LARGEST_SUM + 1
