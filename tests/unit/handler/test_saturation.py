"""8-bit arithmetic on CPUs that saturate, and on those that do not."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from handler import engines
from handler.checkpoint import Checkpoint
from handler.convert import convert
from handler.engines import Classifier
from handler.graphs import core, ov
from handler.network import Normalise
from handler.quantise import activation_ranges, fold_batch_norm
from handler.saturation import LARGEST_SUM, convolution, largest_sums, saturates, without_saturation

SCALE = 0.5


@pytest.fixture(scope="module")
def rounded(untrained: Checkpoint, squares: np.ndarray) -> Checkpoint:
    """With ranges."""
    pixels = Normalise()(torch.from_numpy(squares).permute(0, 3, 1, 2).float())
    network = fold_batch_norm(copy.deepcopy(untrained.network()))
    return replace(untrained, ranges=activation_ranges(network, [pixels]))


def integers_of(graph: ov.Model) -> list[np.ndarray]:
    """The integer weights of each convolution."""
    scaled = [o.input_value(1).get_node() for o in graph.get_ordered_ops() if o.get_type_name() == "Convolution"]
    return [node.input_value(0).get_node().input_value(0).get_node().get_data() for node in scaled]


@pytest.mark.parametrize(
    ("channels", "largest"),
    [
        ([100, 100], 200),
        ([-100, -90], 190),
        ([100, -90], 100),
        ([100, 0, 0, 100], 100),  # only neighbours are added up at once
        ([1, 2, 127], 127),
    ],
)
def test_weights_of_two_channels_are_added_up(channels: list[int], largest: int):
    weights = np.zeros((2, len(channels), 3, 3))
    weights[1, :, 2, 0] = channels
    np.testing.assert_array_equal(largest_sums(weights), [0, largest])


def test_convolutions_keep_what_they_compute():
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
    found = core().compile_model(changed, "CPU")(pixels.astype(np.float32))[0].ravel()
    np.testing.assert_allclose(found[8:], exact[8:], rtol=1e-6)
    assert np.abs(found - exact).max() < 0.03 * SCALE * 255 * np.abs(weights).sum((1, 2, 3)).max()


def test_the_largest_numbers_do_not_saturate():
    """On any CPU: all weights and pixels are as large as they can be."""
    changed = without_saturation(convolution(np.full((16, 16, 1, 1), 127), 1, SCALE))
    found = core().compile_model(changed, "CPU")(np.full((1, 16, 1, 1), 255, np.float32))[0]
    np.testing.assert_allclose(found, SCALE * 127 * 255 * 16, rtol=0.01)


def test_a_cpu_saturates_as_its_flags_say():
    flags = Path("/proc/cpuinfo")
    if not flags.is_file() or "avx2" not in flags.read_text():
        pytest.skip("needs the flags of a CPU of Linux with AVX2")
    assert saturates() == (not {"avx512_vnni", "avx_vnni", "amx_int8"} & set(flags.read_text().split()))


@pytest.mark.parametrize("always", [False, True])
def test_samples_are_near_the_answers(
    rounded: Checkpoint, squares: np.ndarray, always: bool, monkeypatch: pytest.MonkeyPatch
):
    """With the weights of this CPU, and with those of a CPU that saturates."""
    if always:
        monkeypatch.setattr(engines, "saturates", lambda: True)
    classifier = Classifier(rounded, arithmetic="float32")
    errors = np.abs(classifier.sample_probabilities(squares) - classifier.probabilities(squares))
    assert 0 < errors.max() < 0.1


def test_every_convolution_is_changed(rounded: Checkpoint):
    graph = convert(rounded).samples
    assert graph is not None
    before, after = integers_of(graph), integers_of(without_saturation(graph))
    assert len(before) == len(after) == 36
    assert max(largest_sums(integers.astype(float)).max() for integers in before) > LARGEST_SUM + 1
    assert max(largest_sums(integers.astype(float)).max() for integers in after) <= LARGEST_SUM + 1
