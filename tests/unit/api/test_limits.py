"""What any file may cost: limits on size, and the bounds on time and memory that all limits together keep."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from api.limits import DAMAGED, MAX_SIDE
from api.photograph import ImageError, open_photograph
from tests.conftest import ROOT
from tests.hostile_photographs import (
    BOMBS,
    HOSTILE,
    bmp_claiming,
    flat_jpeg,
    jpeg_claiming,
    png_of,
    tiff_of,
    webp_claiming,
)
from tests.hostile_requests import LEAKS


@pytest.mark.parametrize("kind", BOMBS)
def test_a_header_with_too_many_pixels_is_refused_before_decoding(kind):
    data = BOMBS[kind]()
    assert len(data) < 10_000
    with pytest.raises(ImageError):  # once, so that all of Pillow is loaded
        open_photograph(data)
    started = time.process_time()
    with pytest.raises(ImageError, match=r"at most 12,000 are read in width|more than \d+ million pixels"):
        open_photograph(data)
    assert time.process_time() - started < 0.1


def claiming(kind: str, width: int, height: int, bits: int = 8) -> bytes:
    """A file whose header is all there is of the picture."""
    if kind == "JPEG":
        return jpeg_claiming(width, height)
    if kind == "BMP":
        return bmp_claiming(width, height)
    if kind == "WebP":
        return webp_claiming(width, height)
    if kind == "TIFF":
        size = dict(t256=width, t257=height, t258=bits, t259=1, t262=1, t273=0, t277=1, t278=height, t279=1)
        return tiff_of(b"\0", **size)
    return png_of(width, height, bits=bits, colour=6 if kind == "RGBA PNG" else 0)


@pytest.mark.parametrize(
    "kind, width, height, bits, refused",
    [
        ("JPEG", MAX_SIDE, 5333, 8, None),
        ("JPEG", 8160, 6120, 8, None),
        ("JPEG", MAX_SIDE, 5334, 8, "at most 64 million are read: make it smaller$"),
        ("JPEG", MAX_SIDE + 1, 50, 8, "12001 x 50 pixels; at most 12,000"),
        ("JPEG", 50, MAX_SIDE + 1, 8, "50 x 12001 pixels; at most 12,000"),
        ("PNG", 5000, 5000, 8, None),
        ("PNG", 5001, 5000, 8, "at most 25 million are read: make it smaller, or save it as JPEG"),
        ("RGBA PNG", 3750, 5000, 8, None),
        ("RGBA PNG", 3751, 5000, 8, "at most 18.75 million"),
        ("RGBA PNG", 1876, 5000, 16, "at most 9.375 million"),
        ("PNG", 50, 1_000_000, 8, "at most 12,000"),
        ("BMP", 5001, 5000, 8, "at most 25 million"),
        ("TIFF", 5000, 5000, 8, None),
        ("TIFF", 5001, 5000, 8, "at most 25 million"),
        ("TIFF", 3751, 5000, 32, "at most 18.75 million"),
        ("WebP", 2500, 5000, 8, None),
        ("WebP", 2501, 5000, 8, "at most 12.5 million"),
    ],
)
def test_the_limits_on_size(kind, width, height, bits, refused):
    data = claiming(kind, width, height, bits)
    if refused:
        with pytest.raises(ImageError, match=refused):
            open_photograph(data)
    else:
        try:
            open_photograph(data)
        except ImageError as error:
            assert str(error) == DAMAGED  # the header has passed, but the pixels are missing


def test_a_photograph_of_a_phone_with_50_megapixels_is_read():
    data = flat_jpeg(8160, 6120)
    assert open_photograph(data).size == (2040, 1530)


def test_any_hostile_file_costs_a_bounded_time_and_memory(tmp_path):
    """Under a second of processor time and 400 MB, read or refused; see :mod:`api.limits`."""
    for i, make in enumerate(HOSTILE.values()):
        (tmp_path / f"{i:03}").write_bytes(make())
    command = [sys.executable, "-m", "tests.decoding_cost", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    costs = dict(zip(HOSTILE, json.loads(done.stdout), strict=True))
    print(*(f"{name}: {cost}" for name, cost in costs.items()), sep="\n")
    for name, (outcome, seconds, megabytes) in costs.items():
        assert seconds <= 1 and megabytes <= 400, (name, outcome, seconds, megabytes)
        assert not LEAKS.search(outcome), (name, outcome)
    outcomes = {name: outcome for name, (outcome, _, _) in costs.items()}
    wrong = {name: outcome for name, outcome in outcomes.items() if (outcome == "read") != name.startswith("read: ")}
    assert not wrong
