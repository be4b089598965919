"""Photographs that were made to cost time or memory, by name; each is made by a function when it is needed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

from PIL import Image, ImageCms

from tests.pictures import encoded, heic, noise, picture


def png_of(
    width: int, height: int, *chunks: tuple[bytes, bytes], rows: bytes = b"", bits: int = 8, colour: int = 0
) -> bytes:
    """A PNG, grey unless another ``colour`` type is given, whose header may claim more pixels than its data has."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in parts)


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def tiff_of(data: bytes, **tags: int) -> bytes:
    """An 8-bit grey TIFF with exactly these tags (``t256=640``) and ``data`` as its only strip or tile."""
    numbers = sorted((int(name[1:]), value) for name, value in tags.items())
    start = 8 + 2 + 12 * len(numbers) + 4
    entries = b"".join(struct.pack("<HHII", n, 4, 1, start if n in (273, 324) else value) for n, value in numbers)
    return b"II*\0" + struct.pack("<IH", 8, len(numbers)) + entries + b"\0\0\0\0" + data


def tiff_with(count: int, tags: dict[int, int], data: bytes = b"") -> bytes:
    """An 8-bit grey TIFF with these tags, of which those with the value -1 are lists of ``count`` numbers."""
    entries = b"".join(
        struct.pack("<HHII", tag, 4, count if value < 0 else 1, 400 if value < 0 else value)
        for tag, value in sorted(tags.items())
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head.ljust(400, b"\0") + (data or struct.pack("<I", 400) * count)


def jpeg_claiming(width: int, height: int, data: bytes = b"") -> bytes:
    """``data``, or a small JPEG, with another size in its header; libjpeg makes up the rest of the picture."""
    changed = bytearray(data or encoded(picture(), "JPEG"))
    frame = max(changed.find(b"\xff\xc0"), changed.find(b"\xff\xc2"))
    changed[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(changed)


def progressive_with_scans(side: int, scans: int) -> bytes:
    """A grey progressive JPEG of that many scans, of which the last ones do nothing, to every block."""
    data = encoded(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    more = scans - data.count(b"\xff\xda")
    return data[:-2] + last * more + b"\xff\xd9"


def flat_jpeg(width: int, height: int, *segments: bytes) -> bytes:
    """A grey baseline JPEG with colours at half the size, as phones write it, and metadata in front.

    Each group of six blocks is the same 32 bits: no change of brightness or colour.
    """
    model = encoded(Image.new("RGB", (16, 16), (128, 128, 128)), "JPEG")
    start = model.index(b"\xff\xda")
    start += 2 + int.from_bytes(model[start + 2 : start + 4])
    blocks = b"\x28\xa2\x8a\0" * (-(-width // 16) * -(-height // 16))
    head = jpeg_claiming(width, height, model[:start])
    return head[:2] + b"".join(segments) + head[2:] + blocks + b"\xff\xd9"


def noisy_jpeg() -> bytes:
    """A JPEG of 63 megapixels and some 20 MB: eight rows of blocks, each with a restart marker, again and again."""
    strip = encoded(noise(8000, 128, 2), "JPEG", quality=60, restart_marker_rows=1)
    start = strip.index(b"\xff\xda")
    start += 2 + int.from_bytes(strip[start + 2 : start + 4])
    return jpeg_claiming(8000, 62 * 128, strip[:start]) + b"\xff\xd7".join([strip[start:-2]] * 62) + b"\xff\xd9"


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def within(data: bytes, at: int, inserted: bytes) -> bytes:
    return data[:at] + inserted + data[at:]


def heic_claiming(width: int, height: int, data: bytes = b"") -> bytes:
    """As :func:`jpeg_claiming`."""
    changed = bytearray(data or heic(picture()))
    size = changed.index(b"ispe") + 8
    changed[size : size + 8] = struct.pack(">II", width, height)
    return bytes(changed)


def heic_of_items(count: int) -> bytes:
    """A HEIC file whose list of items is that long, most of them not there."""
    data = heic(picture())
    start = data.index(b"iinf") - 4
    size = int.from_bytes(data[start : start + 4])
    entry = struct.pack(">I4sIHH4s", 21, b"infe", 2 << 24, 9, 0, b"hvc1") + b"\0"
    items = data[start + 14 : start + size] + entry * count
    whole = struct.pack(">I4sIH", 14 + len(items), b"iinf", 0, min(count + 1, 65535)) + items
    meta = data.index(b"meta") - 4
    length = int.from_bytes(data[meta : meta + 4]) + len(whole) - size
    changed = data[:meta] + struct.pack(">I", length) + data[meta + 4 : start] + whole + data[start + size :]
    return changed


def bmp_claiming(width: int, height: int) -> bytes:
    """As :func:`jpeg_claiming`."""
    data = bytearray(encoded(picture(), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def gif_claiming(width: int, height: int, in_frame: bool) -> bytes:
    data = bytearray(encoded(Image.new("P", (4, 4)), "GIF"))
    size = struct.pack("<HH", width, height)
    if in_frame:
        frame = data.index(b",\0\0\0\0\x04\0\x04\0")
        data[frame + 5 : frame + 9] = size
    else:
        data[6:10] = size
    return bytes(data)


def webp_claiming(width: int, height: int) -> bytes:
    data = bytearray(encoded(picture(), "WEBP", lossless=True))
    start = data.index(b"VP8L") + 9  # 14 bits of width - 1, 14 of height - 1
    (bits,) = struct.unpack_from("<I", data, start)
    struct.pack_into("<I", data, start, bits & 0xF0000000 | (height - 1) << 14 | (width - 1))
    return bytes(data)


def png_with_giant(name: bytes) -> bytes:
    """A PNG with a chunk of metadata that inflates from 100 kB to 100 MB."""
    packer = zlib.compressobj(6)
    body = b"".join(packer.compress(bytes(10_000_000)) for _ in range(10)) + packer.flush()
    head = {b"zTXt": b"key\0\0", b"iCCP": b"name\0\0", b"iTXt": b"key\0\1\0\0\0"}[name]
    return png_of(4, 4, (name, head + body), rows=bytes(20))


BOMBS = {
    "PNG": lambda: png_of(60_000, 60_000),
    "JPEG": lambda: jpeg_claiming(65_000, 65_000),
    "BMP": lambda: bmp_claiming(60_000, 60_000),
    "GIF by its screen": lambda: gif_claiming(65_000, 65_000, in_frame=False),
    "GIF by its first frame": lambda: gif_claiming(65_000, 65_000, in_frame=True),
    "WebP": lambda: webp_claiming(16_000, 16_000),
    "TIFF": lambda: tiff_of(
        b"\0", t256=60_000, t257=60_000, t258=8, t259=1, t262=1, t273=0, t277=1, t278=60_000, t279=1
    ),
    "TIFF by its tiles": lambda: tiff_of(
        zlib.compress(bytes(1000)),
        **{"t256": 64, "t257": 64, "t258": 8, "t259": 8, "t262": 1, "t277": 1},
        **{"t322": 30_000, "t323": 30_000, "t324": 0, "t325": 20},
    ),
}


SMALL = png_of(64, 64, rows=bytes(65 * 64))
JPEG = encoded(picture(), "JPEG")
PROGRESSIVE = encoded(picture(), "JPEG", progressive=True)
GIF = encoded(Image.new("P", (64, 64)), "GIF")
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ORIENTATION = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
GREY_TIFF = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 273: 400, 277: 1, 278: 64, 279: 4096}


GAMMA = (b"gAMA", struct.pack(">I", 60_000))
P3 = (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))


def paeth(width: int, height: int, colour: int, bits: int) -> bytes:
    """A PNG with the filter that takes longest."""
    channels = {2: 3, 6: 4}[colour]
    row = b"\4" + bytes(i * 7 % 256 for i in range(width * channels * bits // 8))
    return png_of(width, height, rows=row * height, bits=bits, colour=colour)


def rle_bmp() -> bytes:
    data = bytearray(encoded(Image.new("P", (64, 64)), "BMP"))
    data[18:26], data[30:34] = struct.pack("<ii", 5000, 4000), struct.pack("<I", 1)
    (start,) = struct.unpack_from("<I", data, 10)
    return bytes(data[:start]) + b"\1\5" * 10_000_000


def directory(entries: int) -> bytes:
    """A TIFF directory of small entries with different tags."""
    return struct.pack("<H", entries) + b"".join(struct.pack("<HHII", i, 4, 1, 8) for i in range(entries))


def tiff_of_jpeg(side: int, data: bytes) -> bytes:
    tags = {"t256": side, "t257": side, "t258": 8, "t259": 7, "t262": 1, "t273": 0, "t277": 1, "t278": side}
    return tiff_of(data, **tags, t279=len(data))


def webp_with_chunks(count: int) -> bytes:
    data = encoded(picture(), "WEBP", exif=ORIENTATION)
    body = data[12:] + b"abcd\0\0\0\0" * count
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def flat(mode: str, width: int, height: int, kind: str, **options: Any) -> bytes:
    return encoded(Image.new(mode, (width, height), 9), kind, **options)


# The largest that are read, in the forms that cost most. A name says whether the file is read.
LARGEST: dict[str, Callable[[], bytes]] = {
    "read: JPEG of 50 megapixels": lambda: flat_jpeg(8160, 6120),
    "read: JPEG of 63 megapixels and 20 MB": noisy_jpeg,
    "read: JPEG of 12,000 x 1,791 with profile and orientation": lambda: flat_jpeg(
        12_000, 3000, segment(0xE1, ORIENTATION), segment(0xE2, b"ICC_PROFILE\0\1\1" + PROFILE)
    ),
    "read: JPEG of 12,000 x 895 with profile and orientation": lambda: flat_jpeg(
        12_000, 895, segment(0xE1, ORIENTATION), segment(0xE2, b"ICC_PROFILE\0\1\1" + PROFILE)
    ),
    "read: JPEG of 7,160 x 1,791 with profile and orientation": lambda: flat_jpeg(
        7_160, 1791, segment(0xE1, ORIENTATION), segment(0xE2, b"ICC_PROFILE\0\1\1" + PROFILE)
    ),
    "read: progressive JPEG of 50 megapixels": lambda: jpeg_claiming(8160, 6120, PROGRESSIVE),
    "read: progressive JPEG of noise": lambda: encoded(noise(4000, 3000, 2), "JPEG", quality=75, progressive=True),
    "read: progressive JPEG of 22 scans": lambda: progressive_with_scans(6000, 22),
    "read: CMYK JPEG": lambda: encoded(Image.new("CMYK", (7000, 1791)), "JPEG", subsampling=0),
    "read: RGBA PNG": lambda: paeth(5000, 3750, 6, 8),
    "read: RGB PNG": lambda: paeth(5000, 5000, 2, 8),
    "read: RGB PNG of 16 bits": lambda: paeth(5000, 2500, 2, 16),
    "read: grey PNG of 16 bits": lambda: flat("I;16", 5000, 5000, "PNG"),
    "read: PNG with a palette": lambda: flat("P", 5000, 5000, "PNG", transparency=bytes(9)),
    "read: WebP": lambda: encoded(noise(4000, 3125, 2), "WEBP", quality=50, method=0),
    "read: lossless WebP": lambda: flat("RGBA", 4000, 3125, "WEBP", lossless=True, method=0),
    "read: turned TIFF": lambda: flat("RGBA", 5000, 3750, "TIFF", compression="tiff_adobe_deflate", exif=ORIENTATION),
    "read: TIFF of numbers": lambda: flat("F", 5000, 3750, "TIFF", compression="tiff_lzw"),
    "read: PNG with gamma and chromaticities": lambda: png_of(
        12_000, 1791, GAMMA, P3, rows=(b"\0" + bytes(36_000)) * 1791, colour=2
    ),
    "read: HEIC": lambda: heic(Image.new("RGB", (5000, 5000), (200, 150, 140)), quality=50),
    "read: HEIC of noise": lambda: heic(noise(2000, 2000, 2)),
    "read: GIF": lambda: flat("P", 5000, 5000, "GIF"),
    "read: WebP of a million chunks": lambda: webp_with_chunks(1_000_000),
    "read: compressed text of 60 MB": lambda: png_of(
        64, 64, *[(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000)))] * 60, rows=bytes(65 * 64)
    ),
    "read: EXIF of 65,535 entries": lambda: within(SMALL, 33, chunk(b"eXIf", b"II*\0\x08\0\0\0" + directory(65535))),
}

HOSTILE: dict[str, Callable[[], bytes]] = {
    **LARGEST,
    **{f"{kind} that claims too much": make for kind, make in BOMBS.items()},
    **{f"{name.decode()} of 100 MB": partial(png_with_giant, name) for name in (b"zTXt", b"iTXt", b"iCCP")},
    "PNG of 1 x 64,000,000 pixels": lambda: png_of(1, 64_000_000, rows=bytes(128_000_000)),
    "PNG of 64 megapixels": lambda: png_of(8000, 8000, rows=bytes(8001 * 8000)),
    "PNG of a million chunks": lambda: within(SMALL, 33, chunk(b"teSt", b"") * 1_600_000),
    "PNG of a million pieces": lambda: within(SMALL, 33, chunk(b"IDAT", b"") * 1_600_000),
    "PNG of 16,000 profiles": lambda: within(
        SMALL, 33, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**6))) * 16_000
    ),
    "20 MB of FF": lambda: b"\xff" * 20_000_000,
    "20 MB of FF in a JPEG": lambda: within(JPEG, 2, b"\xff" * 20_000_000),
    "20 MB of junk in a JPEG": lambda: within(JPEG, 20, b"a" * 20_000_000),
    "JPEG of ten million starts": lambda: b"\xff\xd8" * 10_000_000 + JPEG[2:],
    "JPEG of ten million starts between scans": lambda: within(
        PROGRESSIVE, PROGRESSIVE.rindex(b"\xff\xda"), b"\xff\xd8" * 10_000_000
    ),
    "JPEG of ten million zeros in a scan": lambda: PROGRESSIVE[:-2] + b"\xff\0" * 10_000_000,
    "JPEG of five million segments": lambda: within(JPEG, 2, segment(0xE5, b"") * 5_000_000),
    "JPEG of five million comments between scans": lambda: within(
        PROGRESSIVE, PROGRESSIVE.rindex(b"\xff\xda"), segment(0xFE, b"") * 5_000_000
    ),
    "JPEG of 20 MB of tables": lambda: within(JPEG, 2, segment(0xDB, (b"\1" + bytes(64)) * 1000) * 300),
    "JPEG of 100 scans and 64 megapixels": lambda: jpeg_claiming(8000, 8000, progressive_with_scans(64, 100)),
    "JPEG of 3,000 scans": lambda: jpeg_claiming(6000, 6000, progressive_with_scans(64, 3000)),
    "progressive JPEG of 64 megapixels in full colours": lambda: jpeg_claiming(
        8000, 8000, encoded(picture(), "JPEG", progressive=True, subsampling=0)
    ),
    "GIF of four million comments": lambda: within(GIF, GIF.rindex(b","), b"!\xfe\1a\0" * 4_000_000),
    "GIF of a comment in ten million pieces": lambda: within(
        GIF, GIF.rindex(b","), b"!\xfe" + b"\1a" * 10_000_000 + b"\0"
    ),
    "BMP of run lengths": rle_bmp,
    "HEIC that claims too little": lambda: heic_claiming(64, 64, heic(Image.new("RGB", (4000, 3000)), quality=50)),
    "HEIC cut in half": lambda: heic(noise(500, 500, 2))[:30_000],
    "HEIC of a million items": lambda: heic_of_items(1_000_000),
    "TIFF of three million strips": lambda: tiff_with(3_000_000, GREY_TIFF | {257: 3000, 273: -1, 278: 1, 279: -1}),
    "TIFF of three million tiles": lambda: tiff_with(
        3_000_000, {256: 1500, 257: 2000, 258: 8, 259: 1, 262: 1, 277: 1, 322: 1, 323: 1, 324: -1, 325: -1}
    ),
    "TIFF of 65,535 entries": lambda: b"II*\0\x08\0\0\0" + directory(65535),
    "TIFF of 65,535 entries of EXIF": lambda: tiff_with(
        1, GREY_TIFF | {34665: 5000, 34853: 5000}, bytes(4600) + directory(65535)
    ),
    "TIFF of scans": lambda: tiff_of_jpeg(4900, progressive_with_scans(4900, 100)),
    "BigTIFF": lambda: b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2**60) + struct.pack("<HHQQ", 1, 99, 1, 1) * 10**6,
}
"""Files that cost, or once did cost, more time or memory than their size allows; few are over 24 MB."""
