"""Hostile bytes: each kind is decoded as a person would see it, or refused with its reason."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from curation.decode import Reject, decode, decode_grey, read_header
from pipelines.demo.hostile import png_header
from tests.curation.making import picture

LIMIT = 10_000_000


def encoded(image: Image.Image, kind: str = "PNG", **more: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def halves(left: tuple[int, int, int] = (255, 0, 0), right: tuple[int, int, int] = (0, 0, 255)) -> Image.Image:
    """40 x 20, one colour on either side."""
    image = Image.new("RGB", (40, 20), left)
    image.paste(right, (20, 0, 40, 20))
    return image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA"])
def test_every_format_gives_the_same_picture(kind: str) -> None:
    data = encoded(halves(), kind)
    assert read_header(data, LIMIT).format in (kind, "JPEG2000")
    pixels = decode(data, 16, "squash").numpy().astype(int)
    assert np.abs(pixels[:, 8, 2] - [255, 0, 0]).max() < 40
    assert np.abs(pixels[:, 8, 13] - [0, 0, 255]).max() < 40


def test_header_is_upright_and_exif_is_without_private_tags() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0xA431], exif[0xC62F] = 6, "Maker", "SERIAL-1", "SERIAL-2"
    exif.get_ifd(0x8825)[1] = "N"
    header = read_header(encoded(halves(), "JPEG", exif=exif), LIMIT)
    assert (header.width, header.height, header.orientation, header.frames) == (20, 40, 6, 1)
    assert json.loads(header.exif or "{}") == {"Make": "Maker"}


def test_rotation_by_exif_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    pixels = decode(encoded(halves(), "JPEG", exif=exif), 16, "squash").numpy().astype(int)
    assert pixels[2, 8, 2] > 200


def test_squash_keeps_all_and_crop_keeps_the_centre() -> None:
    image = Image.new("RGB", (60, 20), "black")
    image.paste((255, 255, 255), (20, 0, 40, 20))
    assert decode(encoded(image), 20, "crop").float().mean() > 250
    assert 70 < decode(encoded(image), 20, "squash").float().mean() < 100


@pytest.mark.parametrize("size", [(640, 427), (427, 640), (500, 500), (300, 288)])
def test_sscds_fits_resize_as_pillow_does(size: tuple[int, int]) -> None:
    image = picture(3).resize(size, Image.Resampling.NEAREST)
    width, height = size
    scale = 288 / min(size)
    shown = {"short": (int(width * scale), int(height * scale)), "skew": (288, 288)}  # torchvision drops the fraction
    for fit, shape in shown.items():
        expected = np.asarray(image.resize(shape, Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        ours = decode(encoded(image), 288, fit).numpy()
        assert ours.shape == expected.shape
        assert np.abs(ours.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("fit", ["short", "skew"])
def test_a_scaled_jpeg_is_within_a_level_of_a_whole_one(fit: str, turn: int) -> None:
    """A JPEG of four times the side is decoded at half its size (scaled DCT) and resized from there, to the same size."""
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(picture(5).resize((1201, 1587), Image.Resampling.BICUBIC), "JPEG", quality=85, exif=exif)
    whole = encoded(Image.open(io.BytesIO(data)), exif=exif)
    difference = (decode(data, 288, fit).int() - decode(whole, 288, fit).int()).abs().float()
    assert difference.mean() < 1
    assert difference.max() < 48


def test_a_long_strip_is_cut_before_it_is_brought_to_its_short_edge() -> None:
    assert decode(encoded(Image.new("RGB", (4000, 10))), 64, "short").shape == (3, 64, 512)


def test_a_long_strip_is_cropped_without_growing() -> None:
    """At 224 x 13,440,000 this would take 9 GB."""
    strip = Image.new("RGB", (60_000, 1), "black")
    strip.paste((255, 255, 255), (29_990, 0, 30_010, 1))
    for image in (strip, strip.transpose(Image.Transpose.ROTATE_90)):
        pixels = decode(encoded(image), 224, "crop")
        assert pixels.shape == (3, 224, 224)
        assert pixels.min() == 255


def test_the_cut_of_a_strip_does_not_show() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (10, 1000, 3), np.uint8)
    whole, middle = (decode(encoded(Image.fromarray(part)), 16, "crop").int() for part in (noise, noise[:, 480:520]))
    assert (whole - middle).abs().max() <= 1


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    levels = np.full((8, 8), 30_000, np.uint16)
    assert abs(int(decode_grey(encoded(Image.fromarray(levels)), 8).mean()) - 117) <= 1


def test_float_tiff_fills_its_range() -> None:
    ramp = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    grey = decode_grey(encoded(Image.fromarray(ramp), "TIFF"), 8)
    assert grey.min() < 20
    assert grey.max() > 235


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_on_white(mode: str) -> None:
    assert decode(encoded(Image.new(mode, (8, 8), 0)), 8, "squash").min() == 255


def test_palette_transparency_lies_on_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    assert decode(encoded(image, transparency=1), 8, "squash").min() == 255


def test_cmyk_and_the_first_frame_of_animations() -> None:
    assert decode(encoded(halves().convert("CMYK"), "JPEG"), 16, "squash")[0, 8, 2] > 200
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "green", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_header(data, LIMIT).frames == 3


CUT = encoded(Image.effect_noise((64, 64), 90), "JPEG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b"<!doctype html>", "not_an_image"),
        (b'<?xml version="1.0"?><svg/>', "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_an_image"),
        (bytes(range(200)), "not_an_image"),
        (png_header(50_000, 50_000), "too_many_pixels"),
        (encoded(Image.new("1", (4000, 4000))), "too_many_pixels"),
        (png_header(50, 50), "truncated"),
    ],
)
def test_what_is_refused_at_the_header(data: bytes, reason: str) -> None:
    with pytest.raises(Reject) as caught:
        read_header(data, LIMIT)
    assert caught.value.reason == reason


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_a_cut_file_is_truncated(keep: float) -> None:
    with pytest.raises(Reject) as caught:
        decode(CUT[: int(len(CUT) * keep)], 16, "squash")
    assert caught.value.reason == "truncated"


def test_errors_of_any_kind_are_reasons() -> None:
    """Pillow raises struct.error at a control block of one byte instead of four."""
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "green")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    at = data.rindex(b"\x21\xf9\x04")
    with pytest.raises(Reject) as caught:
        read_header(data[: at + 2] + b"\x01\x00\x00" + data[at + 8 :], LIMIT)
    assert caught.value.reason == "undecodable"


KINDS = [
    encoded(halves(), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "ICO", "PPM", "TGA", "DDS", "PCX", "SGI")
]


@settings(max_examples=100, deadline=None)
@given(data=st.sampled_from(KINDS), changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6))
def test_every_format_is_decoded_or_refused(data: bytes, changes: list[tuple[int, int]]) -> None:
    odd = bytearray(data)
    for at, value in changes:
        odd[at % len(odd)] = value
    with contextlib.suppress(Reject):
        read_header(bytes(odd), LIMIT)
        decode(bytes(odd), 16, "squash")


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, len(CUT) - 1), value=st.integers(0, 255), cut=st.integers(0, len(CUT)))
def test_whatever_is_broken_is_decoded_or_refused(at: int, value: int, cut: int) -> None:
    data = (CUT[:at] + bytes([value]) + CUT[at + 1 :])[:cut]
    for read in (lambda: read_header(data, LIMIT), lambda: decode(data, 16, "crop"), lambda: decode_grey(data, 16)):
        with contextlib.suppress(Reject):
            read()
