"""How many parts a file may have."""

from __future__ import annotations

import pytest

from api.limits import MAX_ENTRIES, MAX_PARTS
from api.photograph import ImageError, open_photograph
from api.structure import check_gif, check_png, check_tiff, check_webp
from tests.hostile_photographs import GIF, GREY_TIFF, SMALL, chunk, directory, tiff_with, webp_claiming, within
from tests.pictures import distance, encoded, picture


def test_a_gif_with_metadata_before_its_picture_is_read():
    grey = picture().convert("L")
    data = encoded(grey, "GIF", comment=b"a photograph " * 60)
    assert distance(open_photograph(data), grey.convert("RGB")) < 2


@pytest.mark.parametrize("more, allowed", [(-3, True), (1, False)])
@pytest.mark.parametrize("name", [b"teSt", b"IDAT"])
def test_chunks_of_a_png_are_limited(name, more, allowed):
    data = within(SMALL, 33, chunk(name, b"") * (MAX_PARTS + more))
    if allowed:
        check_png(data)
    else:
        with pytest.raises(ImageError, match="too many chunks; at most 20,000"):
            check_png(data)


def test_a_png_has_one_profile():
    check_png(within(SMALL, 33, chunk(b"iCCP", b"")))
    with pytest.raises(ImageError, match="damaged"):
        check_png(within(SMALL, 33, chunk(b"iCCP", b"") * 2))


@pytest.mark.parametrize("more, allowed", [(-4, True), (0, False)])
def test_blocks_of_a_gif_are_limited(more, allowed):
    data = within(GIF, GIF.rindex(b","), b"!\xfe" + b"\1a" * (MAX_PARTS + more) + b"\0")
    if allowed:
        check_gif(data)
    else:
        with pytest.raises(ImageError, match="too many blocks of metadata"):
            check_gif(data)


@pytest.mark.parametrize("data", [GIF[:10], GIF[:18], within(GIF, GIF.rindex(b","), b"junk")])
def test_a_gif_of_something_else_is_damaged(data):
    with pytest.raises(ImageError, match="damaged"):
        check_gif(data)


@pytest.mark.parametrize("order", ["little", "big"])
def test_entries_of_a_tiff_are_limited(order):
    head = {"little": b"II*\0\x08\0\0\0", "big": b"MM\0*\0\0\0\x08"}[order]
    check_tiff(head + MAX_ENTRIES.to_bytes(2, order) + bytes(12 * MAX_ENTRIES))
    with pytest.raises(ImageError, match="too many entries; at most 512"):
        check_tiff(head + (MAX_ENTRIES + 1).to_bytes(2, order) + bytes(12 * MAX_ENTRIES + 12))


@pytest.mark.parametrize("count, allowed", [(MAX_PARTS, True), (MAX_PARTS + 1, False)])
@pytest.mark.parametrize("tag", [273, 324, 320])
def test_numbers_of_a_tiff_are_limited(tag, count, allowed):
    data = tiff_with(count, GREY_TIFF | {tag: -1})
    if allowed:
        check_tiff(data)
    else:
        with pytest.raises(ImageError, match="too many strips, tiles or numbers"):
            check_tiff(data)


@pytest.mark.parametrize("tag", [34665, 34853, 40965])
def test_directories_below_a_tiffs_are_limited_too(tag):
    check_tiff(tiff_with(1, GREY_TIFF | {tag: 400}, directory(MAX_ENTRIES)))
    check_tiff(tiff_with(1, GREY_TIFF | {tag: 10_000_000}, directory(1)))  # damaged metadata is no reason to refuse
    with pytest.raises(ImageError, match="too many entries"):
        check_tiff(tiff_with(1, GREY_TIFF | {tag: 400}, directory(MAX_ENTRIES + 1)))


def test_the_canvas_of_a_webp_is_limited_in_each_kind_of_file():
    simple, extended = encoded(picture(), "WEBP"), encoded(picture().convert("RGBA"), "WEBP", exif=b"Exif\0\0II*\0")
    assert simple[12:16] == b"VP8 " and extended[12:16] == b"VP8X"
    for data in (
        simple[:26] + b"\x88\x13\x88\x13" + simple[30:],
        extended[:24] + b"\x87\x13\0\x87\x13\0" + extended[30:],
        webp_claiming(5000, 5000),
    ):
        with pytest.raises(ImageError, match="5000 x 5000 pixels; at most 12.5 million"):
            check_webp(data)


def test_errors_never_repeat_the_words_of_a_library():
    """libtiff's own message was shown once."""
    broken = encoded(picture(), "TIFF", compression="tiff_lzw")
    for at in range(8, len(broken), 7):
        with pytest.raises(ImageError) as caught:
            open_photograph(broken[:at])
        assert "TIFF" not in str(caught.value).replace("BMP, TIFF or GIF", "").replace("BigTIFF", "")
        assert "decoder" not in str(caught.value) and "error" not in str(caught.value)


def test_another_kind_of_riff_file_is_no_image():
    with pytest.raises(ImageError, match="not an image"):
        check_webp(b"RIFF" + bytes(4) + b"WAVEfmt " + bytes(100))
