"""Bodies: packed ones, and images whose headers are made to cost time."""

from __future__ import annotations

import struct
import time
import zlib

import pytest
from PIL import Image

from curation.web.body import READS, image_kind
from curation.web.urls import Refused
from tests.curation.web import hostile
from tests.pipelines import tiny


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "ICO"])
def test_images_are_told_by_their_first_bytes(kind: str) -> None:
    assert image_kind(tiny.encoded(tiny.picture(1, 64), kind)) == (kind, 64 * 64)


def test_long_honest_headers_are_read() -> None:
    """A colour profile of 2 MB comes in 32 pieces."""
    data = tiny.encoded(tiny.picture(1, 64), icc_profile=bytes(2 << 20))
    assert len(data) > 2 << 20
    assert image_kind(data) == ("JPEG", 64 * 64)


def png_chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


PNG = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0))
SLOW_HEADERS = {
    "jpeg of empty comments": b"\xff\xd8" + b"\xff\xfe\x00\x02" * 4_000_000,
    "jpeg of filling bytes": b"\xff\xd8" + b"\xff" * 16_000_000,
    "png of empty chunks": PNG + png_chunk(b"abCd") * 1_300_000,
    "gif of empty comments": b"GIF89a\x09\0\x09\0\0\0\0" + b"!\xfe\x01a\0" * 3_000_000,
    "gif of one long comment": b"GIF89a\x09\0\x09\0\0\0\0!\xfe" + b"\x01a" * 8_000_000,
    "jpeg 2000 of empty boxes": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x08free" * 2_000_000,
    "jpeg of much metadata": b"\xff\xd8" + (b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)) * 900,
    "jpeg of many settings": b"\xff\xd8"
    + (b"\xff\xed\xff\xffPhotoshop 3.0\0" + b"8BIM\0\0\0\0\0\0\0\0" * 5459 + b"a" * 11) * 900,
    "ppm of white space": b"P6\n" + b" " * 16_000_000,
}


@pytest.mark.parametrize("case", SLOW_HEADERS)
def test_headers_made_to_cost_time_are_left(case: str) -> None:
    """Each would stand still for seconds, and with it every other host that this crawler is asking."""
    began = time.process_time()
    with pytest.raises(Refused) as refusal:
        image_kind(SLOW_HEADERS[case])
    assert refusal.value.reason == "not_an_image"
    assert time.process_time() - began < 1


def test_what_is_no_image() -> None:
    for data, reason in ((b"", "empty_body"), (b"<html>", "not_an_image"), (hostile.bomb_png(), "too_many_pixels")):
        with pytest.raises(Refused) as refusal:
            image_kind(data)
        assert refusal.value.reason == reason
    assert READS > 1000
    assert Image.MAX_IMAGE_PIXELS == 89_478_485  # nobody lifts Pillow's own limit
