"""Limits on the number of parts of PNG, GIF, TIFF and WebP files, checked before Pillow reads them.

Pillow parses these parts in Python, with microseconds and a kilobyte for each, so millions of empty parts cost more
than any picture. Each check is one pass that stops at the limit. Finding damage is left to the decoder.
"""

from __future__ import annotations

import struct

from api.limits import (
    DAMAGED,
    MAX_ENTRIES,
    MAX_PARTS,
    MAX_WEBP_PIXELS,
    NOT_AN_IMAGE,
    RAW,
    ImageError,
    check_size,
    too_many,
)


def check_png(data: bytes) -> None:
    """Refuse too many chunks, and more than the one colour profile that the standard allows.

    Raises:
        ImageError: it is refused.
    """
    position, profiles = 8, 0
    for _ in range(MAX_PARTS):
        name = data[position + 4 : position + 8]
        if len(name) < 4 or name == b"IEND":
            return
        profiles += name == b"iCCP"  # each is inflated, up to a megabyte
        if profiles > 1:
            raise ImageError(DAMAGED)
        position += 12 + int.from_bytes(data[position : position + 4])
    raise too_many("chunks", MAX_PARTS)


def check_gif(data: bytes) -> None:
    """Refuse too many blocks of metadata before the first picture.

    Raises:
        ImageError: it is refused.
    """
    if len(data) < 13:
        raise ImageError(DAMAGED)
    position = 13 + ((6 << (data[10] & 7)) if data[10] & 0x80 else 0)
    inside = False
    for _ in range(MAX_PARTS):
        if position >= len(data):
            raise ImageError(DAMAGED)
        if inside:
            inside = data[position] > 0
            position += 1 + data[position]
        elif data[position : position + 1] == b"!":
            inside = True
            position += 2
        elif data[position : position + 1] == b",":
            return
        else:
            raise ImageError(DAMAGED)
    raise too_many("blocks of metadata", MAX_PARTS)


_POINTERS = (34665, 34853, 40965)
"""Tags of the directories that Pillow reads as well: EXIF, GPS, interoperability."""
_STRIPS, _TILES, _COMPRESSION = 273, 324, 259
_SUBFILE, _PHOTOMETRIC, _DNG_VERSION = 254, 262, 50706
_RAW_PHOTOMETRIC = (32803, 34892)
"""Colour filter array and linear raw."""
_BYTES = (1, 2, 6, 7)
"""Types of values that are kept as they are; Pillow makes a Python number of every other."""


def check_tiff(data: bytes) -> None:
    """Refuse directories with too many entries, and too many strips, tiles or other numbers in one entry.

    Raises:
        ImageError: it is refused, it is a camera's RAW file, or no TIFF of the classic kind.
    """
    order = "<" if data[:2] == b"II" else ">"
    try:
        magic, offset = struct.unpack_from(order + "2xHI", data)
        if magic == 43:
            raise ImageError("the image is a BigTIFF: save it as an ordinary TIFF, or as JPEG or PNG")
        if magic != 42:
            raise ImageError(NOT_AN_IMAGE)
        if data[8:10] == b"CR":  # Canon's CR2
            raise ImageError(RAW)
        entries = _entries(order, data, offset)
        if entries > MAX_ENTRIES:
            raise too_many("entries", MAX_ENTRIES)
        pieces, compression = 1, 1
        for i in range(entries):
            tag, kind, count, value = struct.unpack_from(order + "HHII", data, offset + 2 + 12 * i)
            if kind not in _BYTES and count > MAX_PARTS:
                raise too_many("strips, tiles or numbers in one entry", MAX_PARTS)
            if tag in _POINTERS and value + 2 <= len(data) and _entries(order, data, value) > MAX_ENTRIES:
                raise too_many("entries", MAX_ENTRIES)
            if tag in (_STRIPS, _TILES):
                pieces = max(pieces, count)
            number = value if kind == 4 else value >> 16 if order == ">" else value & 0xFFFF
            if tag == _COMPRESSION:
                compression = number
            # The lowest bit: a thumbnail of another picture in the file.
            if (
                tag == _DNG_VERSION
                or (tag == _SUBFILE and number & 1)
                or (tag == _PHOTOMETRIC and number in _RAW_PHOTOMETRIC)
            ):
                raise ImageError(RAW)
    except struct.error:
        raise ImageError(DAMAGED) from None
    # A JPEG in a strip may be progressive; libtiff decodes all of its scans.
    if compression in (6, 7) and data.count(b"\xff\xda") > 4 * pieces + 16:
        raise ImageError(DAMAGED)


def _entries(order: str, data: bytes, offset: int) -> int:
    """Number of entries of the directory at ``offset``."""
    return int(struct.unpack_from(order + "H", data, offset)[0])


def check_webp(data: bytes) -> None:
    """Refuse a canvas that is too large; the decoder allocates it when the file is opened.

    Raises:
        ImageError: it is refused, or it is another kind of RIFF file.
    """
    if data[8:12] != b"WEBP":
        raise ImageError(NOT_AN_IMAGE)
    kind, size = data[12:16], (1, 1)
    if kind == b"VP8X" and len(data) >= 30:
        size = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    elif kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and len(data) >= 30:
        size = int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    check_size(*size, MAX_WEBP_PIXELS)
