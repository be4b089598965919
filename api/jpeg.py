"""JPEG files: strip metadata, and limit the cost of decoding.

Pillow parses the segments in Python, some of them byte by byte, and keeps them all; libjpeg decodes as many scans as a
file has. So a file is parsed here first, in one pass that stops at the first limit, and only what decoding needs is
passed on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from api.limits import (
    DAMAGED,
    MAX_COEFFICIENTS,
    MAX_PIXELS,
    MAX_SCAN_WORK,
    MAX_SCANS,
    ImageError,
    check_size,
    too_many,
)

_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
"""A marker with a length field, so not a stuffed 00, TEM, RST or SOI; EOI has none but ends the search."""

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_FRAMES = (0xC0, 0xC1, 0xC2)
"""Baseline, extended and progressive, all with Huffman codes."""
_PROGRESSIVE = 0xC2
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_TABLES = (0xC4, 0xDB, 0xDD)
"""Huffman and quantisation tables, and the restart interval."""
_PROFILE = b"ICC_PROFILE\0"
_ONCE = {
    0xE0: (b"JFIF\0",),
    0xE1: (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"),
    0xEE: (b"Adobe",),
}
"""Other segments that matter, by marker and first bytes; of each kind the first is kept."""

_MAX_SEGMENTS = 2_000
"""Segments of a file, those between scans included; 24 MB of metadata are 400."""
_MAX_TABLES = 2**16
"""Bytes of tables before the first scan; eight Huffman and four quantisation tables take under 3,000."""
_MAX_JUNK = 2**16
"""Bytes between two segments that are skipped, as all decoders do."""


@dataclass(frozen=True)
class _Frame:
    """Size in pixels, and samples of all components; a component's share follows from its sampling factors."""

    progressive: bool
    components: int
    samples: int


def strip_metadata(data: bytes) -> bytes:
    """The file without metadata that decoding does not need.

    Raises:
        ImageError: too many pixels, segments or scans, another kind of JPEG, or no picture.
    """
    kept = [b"\xff\xd8"]
    frame: _Frame | None = None
    seen: set[bytes] = set()
    tables, position = 0, 2
    for _ in range(_MAX_SEGMENTS):
        # Bounded, as searching megabytes of junk would take as long as decoding.
        match = _MARKER.search(data, position, position + _MAX_JUNK)
        if not match:
            raise ImageError(DAMAGED)
        marker, start = match[1][0], match.end()
        end = start + int.from_bytes(data[start : start + 2])
        segment = data[start - 2 : end]
        if marker == _START_OF_SCAN:
            if frame is None or len(segment) < 5:
                raise ImageError(DAMAGED)
            if frame.progressive or segment[4] < frame.components:
                _check_scans(data, start - 2, frame.samples)
            return b"".join([*kept, data[start - 2 :]])
        if marker in _FRAMES and frame is None:
            frame = _frame(marker, segment[4:])
            kept.append(segment)
        elif marker in _FRAMES or marker == _END_OF_IMAGE or end < start + 2:
            raise ImageError(DAMAGED)
        elif marker in _OTHER_FRAMES:
            raise ImageError(
                "the image is a JPEG of a rare kind (lossless or arithmetic coding): save it as an ordinary JPEG"
            )
        elif marker in _TABLES:
            tables += len(segment)
            if tables > _MAX_TABLES:
                raise ImageError(DAMAGED)
            kept.append(segment)
        elif marker == 0xE2 and segment[4:].startswith(_PROFILE):
            kept.append(segment)
        else:
            kind = next((name for name in _ONCE.get(marker, ()) if segment[4:].startswith(name)), None)
            if kind and kind not in seen:
                seen.add(kind)
                kept.append(segment)
        position = end
    raise too_many("segments", _MAX_SEGMENTS)


def _frame(marker: int, header: bytes) -> _Frame:
    """What a frame's header says, once its size is known to be allowed."""
    if len(header) < 6 or len(header) < 6 + 3 * header[5] or header[5] == 0:
        raise ImageError(DAMAGED)
    if header[0] != 8:
        raise ImageError(f"the image is a JPEG of {header[0]} bits per channel: save it with 8")
    height, width = int.from_bytes(header[1:3]), int.from_bytes(header[3:5])
    check_size(width, height, MAX_PIXELS)
    factors = [(header[i] >> 4) * (header[i] & 15) for i in range(7, 7 + 3 * header[5], 3)]
    if not all(factors):
        raise ImageError(DAMAGED)
    samples = width * height * sum(factors) // max(factors)
    return _Frame(marker == _PROGRESSIVE, header[5], samples)


def _check_scans(data: bytes, position: int, samples: int) -> None:
    """Refuse a JPEG of several scans, from ``position`` on, that would take too much memory or time."""
    if samples > MAX_COEFFICIENTS:
        raise ImageError(
            f"the image is a progressive JPEG of {samples // 1_000_000} million samples; at most "
            f"{MAX_COEFFICIENTS // 1_000_000} million are read: save it as a baseline JPEG, or make it smaller"
        )
    most = min(MAX_SCANS, MAX_SCAN_WORK // samples)
    scans = segments = 0
    while match := _MARKER.search(data, position):
        marker = match[1][0]
        if marker == _END_OF_IMAGE:
            return
        scans += marker == _START_OF_SCAN
        segments += 1
        if scans > most:
            raise ImageError(
                f"the image is a JPEG of more scans than the {most} that are read at its size: "
                "save it as a baseline JPEG"
            )
        if segments > _MAX_SEGMENTS:
            raise too_many("segments", _MAX_SEGMENTS)
        position = match.end() + int.from_bytes(data[match.end() : match.end() + 2])
