"""The hostile files: each says why it must be dropped; the odd ones are good images."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from pipelines.demo.hostile import Odd, broken, png_header, unusual, vast_png

BROKEN = {odd.name: odd for odd in broken(1)}
GOOD = {odd.name: odd for _, odd in unusual(1)}
REASONS = {"empty_file", "truncated", "not_an_image", "too_many_pixels", "too_small", "bad_aspect", "flat"}


def opened(odd: Odd) -> Image.Image:
    return Image.open(io.BytesIO(odd.data))


def test_equal_seeds_equal_bytes() -> None:
    assert broken(1) == list(BROKEN.values())
    assert unusual(1) == unusual(1)


def test_every_reason_is_there_and_names_are_unique() -> None:
    assert {odd.reason for odd in BROKEN.values()} == REASONS
    assert len(BROKEN) == len(broken(1))
    assert len(GOOD) == len(unusual(1))
    assert all(odd.reason is None for odd in GOOD.values())


@pytest.mark.parametrize("name", [n for n, odd in BROKEN.items() if odd.reason in ("empty_file", "not_an_image")])
def test_no_image(name: str) -> None:
    with pytest.raises(UnidentifiedImageError):
        opened(BROKEN[name])


@pytest.mark.parametrize("name", [n for n, odd in BROKEN.items() if odd.reason == "truncated"])
def test_a_truncated_file_opens_and_does_not_load(name: str) -> None:
    with pytest.raises(OSError, match=r"truncated|Truncated|broken"):
        opened(BROKEN[name]).load()


def test_bombs_are_small_files_of_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert len(vast_png(20_000)) < 100_000
    assert opened(BROKEN["vast.png"]).size == (20_000, 20_000)
    whole = Image.open(io.BytesIO(vast_png(40)))
    assert whole.convert("L").getextrema() == (0, 0)
    assert b"IDAT" not in png_header(50_000, 50_000)


@pytest.mark.parametrize("name", GOOD)
def test_odd_files_hold_a_picture(name: str) -> None:
    image = opened(GOOD[name])
    levels = np.asarray(image, float) / 257 if image.mode == "I;16" else np.asarray(image.convert("RGB"))
    assert levels.std() > 10


def test_odd_files_are_odd() -> None:
    assert opened(GOOD["print.jpg"]).mode == "CMYK"
    assert opened(GOOD["deep.png"]).mode == "I;16"
    assert "transparency" in opened(GOOD["cutout.png"]).info
    assert opened(GOOD["moving.gif"]).n_frames > 1
    assert opened(GOOD["phone.jpg"]).getexif()[0x0112] == 6
    assert opened(GOOD["mislabelled.png"]).format == "JPEG"
