"""8-bit arithmetic on CPUs whose instructions saturate.

CPUs without VNNI instructions (before about 2019) multiply bytes in pairs and add both products in 16 bits. If pixels
and weights are large, the sum saturates at 32,767, and the RMS error of the log-odds is 0.9 instead of 0.1 (OpenVINO's
"saturation issue"). The usual remedy restricts all weights to 7 bits (``overflow_fix`` of NNCF). Here, only the sum of
each pair of weights is limited: most filters keep nearly all of their 8 bits, and the errors are half as large.
"""

from __future__ import annotations

import functools

import numpy as np

from handler.engines.graphs import compile_graph, ov

LARGEST_SUM = 127
"""Of two weights. Rounding may add 1; the product with 255 is still below 2 ** 15."""

PROBE_CHANNELS, PROBE_SIDE = 16, 8


@functools.cache
def saturates() -> bool:
    """Whether this CPU's 8-bit convolutions saturate, tested with the largest values."""
    graph = convolution(np.full((PROBE_CHANNELS, PROBE_CHANNELS, 1, 1), 127), PROBE_SIDE)
    pixels = np.full((1, PROBE_CHANNELS, PROBE_SIDE, PROBE_SIDE), 255, np.float32)
    found = compile_graph(graph, "float32")(pixels)[0]
    return float(found.min()) < 0.99 * 255 * 127 * PROBE_CHANNELS


def convolution(weights: np.ndarray, side: int, scale: float = 1.0) -> ov.Model:
    """The graph of one convolution in 8 bits.

    Args:
        weights: integers from -127 to 127, (filters, channels, height, width).
        side: of the inputs, (1, channels, side, side), which are rounded to integers from 0 to 255.
        scale: of the weights.
    """
    from openvino import opset13 as ops

    filters, channels = weights.shape[:2]
    pixels = ops.parameter([1, channels, side, side], np.float32)
    low, high = np.float32(0), np.float32(255)
    rounded = ops.fake_quantize(pixels, low, high, low, high, 256)
    scales = ops.constant(np.full((filters, 1, 1, 1), scale, np.float32))
    scaled = ops.multiply(ops.convert(ops.constant(weights.astype(np.int8)), np.float32), scales)
    return ov.Model([ops.convolution(rounded, scaled, [1, 1], [0, 0], [0, 0], [1, 1])], [pixels], "convolution")


def without_saturation(graph: ov.Model) -> ov.Model:
    """A copy of an 8-bit graph whose weights are scaled down where they could saturate."""
    graph = graph.clone()
    for operation in graph.get_ordered_ops():
        if operation.get_type_name() == "Convolution":
            _coarsen(operation.input_value(1).get_node())
    return graph


def _coarsen(scaled: ov.Node) -> None:
    """Divide a convolution's integer weights by a factor per filter, and multiply its scale by it.

    ``scaled`` is the product of the weights, converted from integers, and the scale.
    """
    from openvino import opset13 as ops

    integers = scaled.input_value(0).get_node().input_value(0).get_node()
    scale = scaled.input_value(1).get_node()
    weights = integers.get_data().astype(np.float32)
    factor = np.maximum(largest_sums(weights) / LARGEST_SUM, 1).reshape(-1, 1, 1, 1)
    coarser = ops.constant((weights / factor).round().astype(np.int8))
    integers.output(0).replace(coarser.output(0))
    scaled.input(1).replace_source_output(ops.constant((scale.get_data() * factor).astype(np.float32)).output(0))


def largest_sums(weights: np.ndarray) -> np.ndarray:
    """The largest sum, of either sign, of the weights of two channels in each filter, (filters,).

    ``weights`` is (filters, channels, height, width). Channels 2k and 2k + 1 are a pair. Weights of opposite sign are
    not added, as the pixel of either may be zero.
    """
    even = np.pad(weights, ((0, 0), (0, weights.shape[1] % 2), (0, 0), (0, 0)))
    sums = [part[:, ::2] + part[:, 1::2] for part in (even.clip(min=0), (-even).clip(min=0))]
    return np.maximum(*(each.max((1, 2, 3)) for each in sums))
