"""Hostile bytes to pixels, or a reason why not.

Rules, measured on Pillow 13: never open without a list of formats (EPS would start Ghostscript); look at the size before
loading; draft JPEGs to twice the target; load() rather than verify() (which misses cut JPEGs); 16-bit images are scaled,
not clipped; transparency is laid on white; never accept truncated images.
"""

from __future__ import annotations

import io
import json
import struct
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "ICO", "PPM",
           "PCX", "TGA", "SGI", "DDS")  # fmt: skip
"""Raster formats that Pillow decodes by itself; its JPEG reader opens MPO too. Never EPS, PS, PDF or WMF."""

_SUFFIX = {"JPEG": "jpg", "MPO": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}  # where it is not the format's name

_PRIVATE = ("GPS", "MakerNote", "Serial", "Owner", "UniqueID", "UserComment", "JPEGInterchangeFormat", "JpegIF", "Thumb",
            "XMLPacket", "ImageResources", "InterColorProfile")  # fmt: skip
LONGEST = 8  # times its short edge: a strip that is longer is cut to its centre before "crop" resizes it


def suffix(format_name: str) -> str:
    """The file suffix, without its dot, of a format as Pillow names it."""
    return _SUFFIX.get(format_name, format_name.lower())


class Reject(Exception):
    """An image that cannot be used: a stable `reason`, and a `detail` in words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Header:
    """What a file says about itself. width, height: upright pixels. exif: JSON without positions, serials, thumbnails."""

    format: str
    pixel_mode: str
    width: int
    height: int
    orientation: int
    frames: int
    exif: str | None


def read_header(data: bytes, max_pixels: int) -> Header:
    """The header of encoded bytes. Raises Reject. Pillow decodes a PNG without EXIF here, to look for some after its pixels."""
    with opened(data, max_pixels) as image:
        exif = image.getexif()
        turned = int(exif.get(ExifTags.Base.Orientation, 1) or 1)
        turned = turned if 1 <= turned <= 8 else 1
        width, height = image.size if turned < 5 else image.size[::-1]
        frames = int(getattr(image, "n_frames", 1))
        return Header(str(image.format), image.mode, width, height, turned, frames, _exif_json(exif))


def decode(data: bytes, side: int, fit: str) -> Any:
    """Encoded bytes to a (3, H, W) uint8 RGB tensor. Raises Reject.

    fit: "squash" makes side x side whatever the aspect; "crop" brings the short edge to `side` and cuts the centre square.
    "skew" and "short" are SSCD's, bilinear where the others are bicubic: the square of "squash", and all of the picture
    with a short edge of `side`; a strip longer than LONGEST is cut to its centre first, as for "crop".
    """
    import torch
    from torch.nn.functional import interpolate

    rgb = _load(data, side, "RGB")
    rgb = rgb if fit in _SQUARE else _centre(rgb)
    image = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    height, width = _upright_size(data) if fit == "short" else rgb.shape[:2]
    size = _resized(height, width, side, fit)
    if size != rgb.shape[:2]:
        image = interpolate(image, size=size, mode="bilinear" if fit in _BILINEAR else "bicubic", antialias=True)
    if fit != "crop":
        return image[0].contiguous()
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return image[0, :, top : top + side, left : left + side].contiguous()


_SQUARE, _BILINEAR = ("squash", "skew"), ("skew", "short")


def _resized(height: int, width: int, side: int, fit: str) -> tuple[int, int]:
    """(H, W) before anything is cut off. "short" drops the fraction of the long edge, as torchvision does."""
    if fit in _SQUARE:
        return side, side
    short = min(height, width)
    if fit == "short":
        height, width = min(height, LONGEST * short), min(width, LONGEST * short)
        return max(side, int(height * side / short)), max(side, int(width * side / short))
    scale = side / short
    return max(side, round(height * scale)), max(side, round(width * scale))


def _upright_size(data: bytes) -> tuple[int, int]:
    """(H, W) of the whole picture: a scaled JPEG has edges of its own, rounded up."""
    with opened(data, None) as image:
        return upright(image)


def _centre(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) cut to its central LONGEST squares: 1 x 60,000 pixels must not be resized to 224 x 13,440,000."""
    height, width = rgb.shape[:2]
    most = LONGEST * min(height, width)
    top, left = max(0, height - most) // 2, max(0, width - most) // 2
    return rgb[top : top + most, left : left + most]


def decode_rgb(data: bytes, longest: int = 4096) -> NDArray[np.uint8]:
    """Encoded bytes to an upright (H, W, 3) uint8 RGB image, whole; a JPEG far longer than `longest` scaled. Raises Reject."""
    return _load(data, longest, "RGB")


def decode_grey(data: bytes, side: int) -> NDArray[np.uint8]:
    """Encoded bytes to a (side, side) uint8 grey image, whatever the aspect. Raises Reject."""
    grey = Image.fromarray(_load(data, side, "L"))
    return np.asarray(grey.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0))


def decode_grey_whole(data: bytes, longest: int) -> NDArray[np.uint8]:
    """Encoded bytes to a (H, W) uint8 grey image in its own aspect, the longer edge at `longest`. Raises Reject."""
    grey = Image.fromarray(_load(data, longest, "L"))
    scale = longest / max(grey.size)
    size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
    return np.asarray(grey.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0))


def _load(data: bytes, side: int, mode: str) -> NDArray[np.uint8]:
    with opened(data, None) as image:
        return pixels(image, side, mode)


def pixels(image: Image.Image, side: int, mode: str = "RGB") -> NDArray[np.uint8]:
    """An image that was opened, upright and whole; the edges of a JPEG at twice `side` or more. Wants `opened` around it."""
    if image.format in ("JPEG", "MPO"):
        image.draft(mode, (2 * side, 2 * side))
    image.load()
    return np.array(_flat(ImageOps.exif_transpose(image), mode))


def upright(image: Image.Image) -> tuple[int, int]:
    """Height and width of an image that was opened, as it is looked at. Wants `opened` around it."""
    turned = int(image.getexif().get(ExifTags.Base.Orientation, 1) or 1) in (5, 6, 7, 8)
    return (image.width, image.height) if turned else (image.height, image.width)


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """RGB or L, with 16-bit levels scaled and transparency laid on white."""
    if image.mode.startswith(("I", "F")):
        image = _scaled(image)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return image if image.mode == mode else image.convert("RGB").convert(mode)


def _scaled(image: Image.Image) -> Image.Image:
    """16-bit integers by 257; wider integers and floats from their own range to 0..255."""
    values = np.asarray(image).astype(np.float64)
    if image.mode.startswith("I;16") or (image.mode == "I" and values.max(initial=0) <= 65535 and values.min(initial=0) >= 0):
        return Image.fromarray(np.round(values / 257).astype(np.uint8))
    values = np.nan_to_num(values)
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    return Image.fromarray(np.round((values - low) / max(high - low, 1e-12) * 255).astype(np.uint8))


@contextmanager
def opened(data: bytes, max_pixels: int | None) -> Generator[Image.Image]:
    """The image, opened but not loaded; whatever goes wrong with it inside becomes a Reject."""
    if not data:
        raise Reject("empty_file", "0 bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                pixels = image.width * image.height
                if max_pixels is not None and pixels > max_pixels:
                    raise Reject("too_many_pixels", f"{image.width} x {image.height}, limit {max_pixels} pixels")
                if not pixels:
                    raise Reject("bad_header", "no pixels")
                yield image
    except Image.DecompressionBombError as error:
        raise Reject("too_many_pixels", str(error)) from error
    except UnidentifiedImageError as error:
        raise _unidentified(data, max_pixels) from error
    except Reject:
        raise
    except Exception as error:  # whatever a decoder raises on hostile bytes: struct.error, zlib.error, RecursionError, ...
        cut = any(
            word in str(error).lower()
            for word in ("truncated", "not enough", "end of file", "eof", "incomplete", "broken data")
        )
        raise Reject("truncated" if cut else "undecodable", f"{type(error).__name__}: {error}"[:200]) from error


def _unidentified(data: bytes, max_pixels: int | None) -> Reject:
    """Why Pillow knows no format: usually no image; but a PNG may end right after it has told its size."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        return Reject("not_an_image", _what(data))
    width, height = struct.unpack(">II", data[16:24])
    if max_pixels is not None and width * height > max_pixels:
        return Reject("too_many_pixels", f"{width} x {height}, limit {max_pixels} pixels")
    return Reject("truncated", "a PNG without pixels")


def _what(data: bytes) -> str:
    """What bytes that are no image look like."""
    head = data[:512].lstrip().lower()
    for mark, name in ((b"<!doctype html", "HTML"), (b"<html", "HTML"), (b"<svg", "SVG"), (b"<?xml", "XML"), (b"%pdf", "PDF"),
                       (b"%!ps", "PostScript"), (b"{", "JSON")):  # fmt: skip
        if head.startswith(mark):
            return "SVG" if name == "XML" and b"<svg" in data[:4096].lower() else name
    return f"unknown format, begins with {data[:8].hex()}"


def _exif_json(exif: Image.Exif) -> str | None:
    tags = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
    named = {ExifTags.TAGS.get(tag, str(tag)): value for tag, value in tags.items()}
    plain = {
        name: _plain(value)
        for name, value in named.items()
        if name not in ("ExifOffset", "Orientation") and not any(word in name for word in _PRIVATE)
    }
    plain = {name: value for name, value in plain.items() if value is not None}
    return json.dumps(plain, sort_keys=True, ensure_ascii=False) if plain else None


def _plain(value: Any) -> str | int | float | None:
    """A tag's value if it is short text or a number."""
    if isinstance(value, str):
        return value.replace("\x00", "").encode("utf-8", "replace").decode()[:200]
    if isinstance(value, int):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if np.isfinite(number) else None
