"""Limits on photographs, and the errors for those over them; :mod:`api.photograph` enforces them before it decodes.

Together they keep decoding under a second of one core and under 400 MB of memory, whatever the file contains. They
limit what headers say, not time, and are checked before any pixel is decoded: the same file gets the same answer on
every machine, and an ordinary photograph costs nothing more.
"""

from __future__ import annotations

from api.errors import ErrorCode

MAX_REQUEST = 32 * 2**20
"""Bytes of a request to the service."""

MAX_SENT_BYTES = MAX_REQUEST * 3 // 4 - 2**16
"""Bytes of a photograph that fits into a request, in base64; clients make a larger one smaller
(:func:`api.photograph.to_send`)."""

MAX_FILE_BYTES = 100 * 2**20
"""Bytes of a file that clients and the batch read: no picture within the limits below is larger."""

MIN_SIDE = 32
"""Limit on width and on height: a diagnosis of fewer pixels means nothing."""

MAX_SIDE = 12_000
"""Limit on width and on height: a picture is shrunk by its shorter side, so a single line of pixels never is."""

MAX_PIXELS = 64_000_000
"""Limit on width times height of a JPEG; a 50-megapixel phone photograph fits. JPEGs are shrunk while decoded."""

MAX_WHOLE_PIXELS = 25_000_000
"""The limit for other formats, which are decoded at full size."""

MAX_WHOLE_BYTES = 75_000_000
"""Limit on the bytes of their pixels: 25 megapixels of RGB, 12.5 with 16 bits per channel."""

MAX_WEBP_PIXELS = 12_500_000
"""The limit for WebP, whose decoder keeps five copies."""

MAX_PARTS = 20_000
"""Limit on the chunks of a PNG, the blocks before a GIF's picture, and the strips or tiles of a TIFF: Pillow loops over
them in Python. The usual number is below a thousand."""

MAX_ENTRIES = 512
"""Limit on the entries of a TIFF directory. Cameras write fewer than a hundred."""

MAX_SCANS = 100
"""Limit on the scans of a JPEG; cameras write one, and progressive files have about ten."""

MAX_COEFFICIENTS = 80_000_000
"""Limit on the samples of a JPEG of several scans, all of whose coefficients are kept, two bytes each. A 50-megapixel
photograph with the usual subsampling of colours has 75 million."""

MAX_SCAN_WORK = 800_000_000
"""Limit on scans times samples of a JPEG: even an empty scan visits every block. Ten scans of such a photograph fit."""

MAX_PROFILE = 4 * 2**20
"""Bytes of a colour profile; a larger one is ignored."""

MAX_EXIF = 2**16
"""Bytes of EXIF that are looked at, as many as a JPEG segment holds. The orientation is among the first."""


KINDS = "JPEG, HEIC, PNG, WebP, BMP, TIFF or GIF"
NOT_AN_IMAGE = f"not an image that can be read: send a {KINDS} file (export RAW photographs as JPEG)"
RAW = "a camera's RAW file, whose first picture is a thumbnail: export it as JPEG"
RAW_SIGNATURES = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM")
"""First bytes of RAW files that are no TIFF files; another is Canon's CR3."""

DAMAGED = "the image is damaged or cut short, or of a rare kind: save it again, as JPEG or PNG, and resend it"
_CODES = {NOT_AN_IMAGE: ErrorCode.NOT_AN_IMAGE, DAMAGED: ErrorCode.DAMAGED_IMAGE}


class ImageError(ValueError):
    """The bytes are not an acceptable photograph. The message is for the sender.

    Attributes:
        code: the error code to answer with.
    """

    def __init__(self, message: str, code: ErrorCode | None = None) -> None:
        super().__init__(message)
        self.code = code or _CODES.get(message, ErrorCode.UNSUPPORTED_IMAGE)


def check_size(width: int, height: int, most_pixels: int) -> None:
    """Refuse a picture with a side under :data:`MIN_SIDE` or over :data:`MAX_SIDE`, or with more than ``most_pixels``.

    Raises:
        ImageError: it is refused.
    """
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"the image has {width} x {height} pixels; at least {MIN_SIDE} are needed in width and in height: "
            "send the photograph itself, not a thumbnail"
        )
    if max(width, height) > MAX_SIDE:
        raise ImageError(
            f"the image has {width} x {height} pixels; at most {MAX_SIDE:,} are read in width or in height: "
            "make it smaller",
            ErrorCode.IMAGE_TOO_LARGE,
        )
    if width * height > most_pixels:
        hint = "" if most_pixels == MAX_PIXELS else ", or save it as JPEG"
        raise ImageError(
            f"the image has {width} x {height} pixels; at most {most_pixels / 1e6:g} million are read: "
            f"make it smaller{hint}",
            ErrorCode.IMAGE_TOO_LARGE,
        )


def too_many(parts: str, most: int) -> ImageError:
    """The error for a file with more than ``most`` ``parts``."""
    return ImageError(f"the image has too many {parts}; at most {most:,} are read: save it again, as JPEG or PNG")
