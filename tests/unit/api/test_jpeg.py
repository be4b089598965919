"""Which segments of a JPEG matter, and which scans are too many."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image, ImageCms

from api.jpeg import strip_metadata
from api.photograph import ImageError, open_photograph
from tests.hostile_photographs import JPEG, PROGRESSIVE, jpeg_claiming, progressive_with_scans, segment, within
from tests.pictures import distance, encoded, noise, picture
from tests.unit.api.test_photograph import exif_of


@pytest.mark.parametrize(
    "side, scans, allowed", [(64, 100, True), (64, 101, False), (6000, 23, False), (6000, 22, True)]
)
def test_a_progressive_jpeg_may_have_fewer_scans_the_larger_it_is(side, scans, allowed):
    data = progressive_with_scans(side, scans)
    assert data.count(b"\xff\xda") == scans
    if allowed:
        assert open_photograph(data).mode == "RGB"
    else:
        most = {64: 100, 6000: 22}[side]
        with pytest.raises(ImageError, match=f"more scans than the {most} that are read at its size"):
            open_photograph(data)


def test_markers_in_metadata_or_after_the_end_are_not_counted_as_scans():
    looks = b"\xff\xda" * 400
    comment = b"\xff\xfe" + struct.pack(">H", len(looks) + 2) + looks
    data = encoded(picture(), "JPEG", quality=95, subsampling=0, progressive=True)
    data = data[:2] + comment + data[2:] + looks  # phones append a video to a photograph
    assert distance(open_photograph(data), picture()) < 3


def test_only_the_first_of_several_exif_segments_counts():
    data = encoded(picture(), "JPEG", quality=95, subsampling=0, exif=exif_of(1))
    second = exif_of(6)
    data = (
        data[:2]
        + b"".join(b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block for block in (exif_of(3), second))
        + data[2:]
    )
    assert distance(open_photograph(data), picture().rotate(180)) < 3


@pytest.mark.parametrize(
    "kind", [{"progressive": True}, {"restart_marker_rows": 1}, {"quality": 100}, {"optimize": True}]
)
def test_what_is_passed_on_of_a_jpeg_is_decoded_as_the_whole(kind):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(noise(300, 200, 3), "JPEG", exif=exif_of(1), icc_profile=profile, comment=b"a nevus", **kind)
    with Image.open(io.BytesIO(data)) as whole, Image.open(io.BytesIO(strip_metadata(data))) as part:
        assert part.info["icc_profile"] == profile and "comment" in whole.info and "comment" not in part.info
        assert distance(part, whole) == 0


@pytest.mark.parametrize("marker", [0xC3, 0xC9, 0xCA])
def test_a_rare_kind_of_jpeg_is_named(marker):
    data = JPEG.replace(b"\xff\xc0", bytes((0xFF, marker)), 1)
    with pytest.raises(ImageError, match="JPEG of a rare kind"):
        open_photograph(data)


def test_twelve_bits_per_channel_are_named():
    at = JPEG.index(b"\xff\xc0") + 4
    with pytest.raises(ImageError, match="12 bits per channel: save it with 8"):
        open_photograph(JPEG[:at] + b"\x0c" + JPEG[at + 1 :])


def test_a_progressive_jpeg_has_a_limit_on_samples():
    full = encoded(picture(), "JPEG", progressive=True, subsampling=0)
    assert strip_metadata(jpeg_claiming(5163, 5163, full))
    with pytest.raises(ImageError, match="progressive JPEG of 80 million samples; at most 80 million"):
        strip_metadata(jpeg_claiming(5164, 5164, full))
    assert strip_metadata(jpeg_claiming(8192, 6144, PROGRESSIVE))  # with colours at half the size


def test_scans_of_single_colours_are_counted_without_progression_too():
    """A baseline JPEG whose first scan has one colour keeps all coefficients as well."""
    start = JPEG.index(b"\xff\xda")
    single = JPEG[:start] + segment(0xDA, b"\1\1\0\0\x3f\0") * 101 + b"\xff\xd9"
    with pytest.raises(ImageError, match="more scans than the 100"):
        strip_metadata(single)


@pytest.mark.parametrize("count, allowed", [(1900, True), (2100, False)])
def test_segments_are_limited(count, allowed):
    data = within(JPEG, 2, segment(0xE5, b"metadata") * count)
    if allowed:
        assert strip_metadata(data) == strip_metadata(JPEG)
    else:
        with pytest.raises(ImageError, match="too many segments"):
            strip_metadata(data)


@pytest.mark.parametrize(
    "data",
    [
        JPEG[: JPEG.index(b"\xff\xda")],
        within(JPEG, 2, b"\xff\xd9"),
        within(JPEG, 2, b"\xff\xe1\0\1"),
        within(JPEG, 2, JPEG[JPEG.index(b"\xff\xda") :]),
        within(JPEG, 2, segment(0xC0, b"")),
        within(JPEG, 2, segment(0xC0, b"\x08\0\x40\0\x40\1\1\0\0")),
        within(JPEG, JPEG.index(b"\xff\xc0"), segment(0xC0, b"\x08\0\x40\0\x40\1\1\x11\0")),
    ],
    ids=["no scan", "end first", "length of 1", "scan first", "no frame", "no sampling", "two frames"],
)
def test_a_jpeg_out_of_order_is_damaged(data):
    with pytest.raises(ImageError, match="damaged"):
        strip_metadata(data)
