"""Faces made unrecognisable: blurred in an ellipse, in an image that is then encoded once, in its own format.

The blur follows the face's size: whatever is left of it is some CELLS patches across, so that a large face is no more
readable than a small one. Outside the ellipses no pixel is touched before encoding.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps, JpegImagePlugin

from curation.decode import Reject, opened

CELLS = 5  # patches across a blurred face
FEATHER = 0.06  # of the face's shorter side: the width of the ellipse's soft edge
MODES = ("L", "RGB", "RGBA", "LA", "CMYK", "I;16")
WRITABLE = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "ICO", "PPM", "PCX", "TGA", "SGI", "DDS")


@dataclass(frozen=True)
class Blurred:
    """data: the new encoded bytes, upright, without metadata but the colour profile. boxes: (n, 4) int, widened."""

    data: bytes
    format: str
    boxes: NDArray[np.int64]


def blur_faces(data: bytes, boxes: NDArray[np.float32], margin: float = 0.15) -> Blurred:
    """Encoded bytes with the faces in `boxes` blurred. An animation becomes its first frame.

    boxes: (n, 4 or more) x0, y0, x1, y1 in pixels of the upright image. margin: share of a box added on each side.
    Raises Reject for bytes that cannot be decoded, ValueError for no box: an image without faces keeps its bytes.
    """
    if not len(boxes):
        raise ValueError("no face to blur")
    with opened(data, None) as image:
        kind, options = _target(image)
        image.load()
        upright = ImageOps.exif_transpose(image)
        picture = _plain(upright)
        wide = widened(boxes, margin, picture.size)
        for box in wide[(wide[:, 2] > wide[:, 0]) & (wide[:, 3] > wide[:, 1])]:
            _blur(picture, tuple(int(edge) for edge in box))
        return Blurred(_encoded(picture, kind, options), kind, wide)


def widened(boxes: NDArray[np.float32], margin: float, size: tuple[int, int]) -> NDArray[np.int64]:
    """(n, 4) integer boxes, `margin` of their sides added on each, within an image of this width and height."""
    corners = np.asarray(boxes, np.float64)[:, :4]
    more = np.tile((corners[:, 2:] - corners[:, :2]) * margin, 2) * (-1, -1, 1, 1)
    wide = np.concatenate([np.floor(corners[:, :2] + more[:, :2]), np.ceil(corners[:, 2:] + more[:, 2:])], axis=1)
    return np.clip(wide, 0, np.tile(size, 2)).astype(np.int64)


def _target(image: Image.Image) -> tuple[str, dict[str, Any]]:
    """The format to write, and its options: as the source was encoded, as far as Pillow can tell."""
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    options: dict[str, Any] = {"icc_profile": image.info.get("icc_profile")}
    if kind == "JPEG":
        sampling = JpegImagePlugin.get_sampling(image)
        options |= {"qtables": getattr(image, "quantization", None), "progressive": bool(image.info.get("progressive"))}
        options |= {"subsampling": sampling} if sampling >= 0 else {}
    elif kind == "WEBP":
        lossless = b"VP8L" in _head(image)
        options |= {"lossless": lossless, "quality": 90, "exact": lossless}
    elif kind in ("TIFF", "TGA"):
        options = {"icc_profile": image.info.get("icc_profile")} if kind == "TIFF" else {}
    return (kind if kind in WRITABLE else "PNG"), {name: value for name, value in options.items() if value is not None}


def _head(image: Image.Image) -> bytes:
    """The first bytes of the file, where a WebP names its coding."""
    file: Any = image.fp
    at = file.tell()
    file.seek(0)
    head = file.read(4096)
    file.seek(at)
    return head


def _plain(image: Image.Image) -> Image.Image:
    """The pixels in a mode whose bands can be blurred, as a copy."""
    if image.mode in MODES:
        return image.copy()
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    if image.mode.startswith("I;16"):
        return Image.fromarray(np.asarray(image).astype(np.uint16))
    if image.mode in ("I", "F"):
        return Image.fromarray(np.asarray(image).astype(np.float32))
    return image.convert("L" if image.mode == "1" else "RGB")


def _blur(picture: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Blur the ellipse in `box` in place."""
    face = picture.crop(box)
    mask = Image.new("L", face.size, 0)
    ImageDraw.Draw(mask).ellipse((0, 0, face.width - 1, face.height - 1), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(FEATHER * min(face.size) / 2))
    inside = Image.new("L", face.size, 0)
    ImageDraw.Draw(inside).ellipse((0, 0, face.width - 1, face.height - 1), fill=255)
    mask = Image.fromarray(np.minimum(np.asarray(mask), np.asarray(inside)))
    smooth = _smooth(face)
    if picture.mode in ("L", "RGB", "RGBA", "LA", "CMYK"):
        picture.paste(smooth, box[:2], mask)
        return
    share = np.asarray(mask, np.float64) / 255
    mixed = np.asarray(face, np.float64) * (1 - share) + np.asarray(smooth, np.float64) * share
    picture.paste(Image.fromarray(mixed.astype(np.asarray(face).dtype)), box[:2])


def _smooth(face: Image.Image) -> Image.Image:
    """The face, reduced to CELLS patches across its shorter side and enlarged again, each band by itself."""
    scale = CELLS / min(face.size)
    small = (max(1, round(face.width * scale)), max(1, round(face.height * scale)))
    if face.mode.startswith(("I", "F")):
        values = Image.fromarray(np.asarray(face, np.float32))
        wide = values.resize(small, Image.Resampling.BOX).resize(face.size, Image.Resampling.BILINEAR)
        return Image.fromarray(np.asarray(wide).astype(np.asarray(face).dtype))
    bands = [b.resize(small, Image.Resampling.BOX).resize(face.size, Image.Resampling.BICUBIC) for b in face.split()]
    return Image.merge(face.mode, bands)


def _encoded(picture: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    picture.info = {}
    try:
        picture.save(buffer, kind, **options)
    except (OSError, ValueError, KeyError) as error:  # a mode that the format cannot hold after all
        raise Reject("unwritable", f"{kind} cannot hold {picture.mode}: {error}") from error
    return buffer.getvalue()
