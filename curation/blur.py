"""Faces made unrecognisable in an encoded image: one decode, one encode, in the image's own format.

A face's box is widened and the picture in its ellipse replaced by some 3 x 3 cells of the face, drawn smoothly: the share
that is lost is the same whatever the face's size. The ellipse's edge is feathered; outside it not a pixel changes before
the image is encoded. Blurring faces costs little accuracy: Yang et al., "A Study of Face Obfuscation in ImageNet"
(arXiv 2103.06191), who blur with a Gaussian of a tenth of the box's diagonal. Here more is lost: with cells as wide as that
(6 x 6) CenterFace still found 8 faces of 8 that it had found before, with 4 x 4 two, with 3 x 3 none.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, JpegImagePlugin

from curation.decode import Reject, opened

CELLS = 3  # across the longer side of a face
LEAST_CELL = 2  # pixels: a face of a few pixels is blurred too
QUALITY = 90  # of lossy formats that do not tell theirs

_MODES = ("L", "LA", "RGB", "RGBA", "CMYK", "I;16", "I", "F")
_OPTIONS: dict[str, dict[str, Any]] = {
    **{kind: {} for kind in ("PNG", "GIF", "BMP", "DIB", "PPM", "TGA", "SGI", "PCX", "DDS", "JPEG2000")},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "AVIF": {"quality": QUALITY},
}
"""Formats that Pillow writes as large as they are, and how; without loss but AVIF. An ICO would become a set of small ones."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Blurred:
    """An image with blurred faces, its format, and boxes: (n, 4) int32, the x0 y0 x1 y1 wherein pixels differ."""

    data: bytes
    format: str
    boxes: NDArray[np.int32]


def blur_faces(data: bytes, boxes: NDArray[np.float32], margin: float = 0.15) -> Blurred:
    """Encoded bytes with the faces blurred, upright, without metadata other than the ICC profile; of animations one frame.

    boxes: (n, 4 or more), n >= 1: x0 y0 x1 y1 in pixels of the upright image; a face may be partly outside, and one beside
    it comes back without an area. margin: how far a box is widened on each side, as a share of its sides. The format is the
    source's, or PNG if Pillow cannot write that. Raises Reject for what cannot be decoded, ValueError for no boxes (an
    image without faces keeps its bytes) and for boxes that are none.
    """
    with opened(data, None) as image:
        kind, options = _format(image, data)
        image.load()
        source = _clean(ImageOps.exif_transpose(image))
    blurred = _workable(source)
    wide = _widened(boxes, blurred.size, margin)
    for face, reach in zip(boxes[:, :4].astype(np.float64), wide.tolist(), strict=True):
        if reach[0] < reach[2] and reach[1] < reach[3]:
            _blur(blurred, face, tuple(reach), margin)
    if source.mode == "P" and kind == "GIF":
        blurred = _repainted(source, blurred, wide)
    return Blurred(*_encoded(blurred, kind, options), wide)


def _format(image: Image.Image, data: bytes) -> tuple[str, dict[str, Any]]:
    """The format to write, and how: as the source was encoded, as far as Pillow tells and can."""
    kind = str(image.format)
    if kind in ("JPEG", "MPO"):
        tables, sampling = getattr(image, "quantization", None), JpegImagePlugin.get_sampling(image)
        return "JPEG", {"qtables": tables, "subsampling": max(0, sampling), "progressive": "progressive" in image.info}
    if kind == "WEBP":
        first = re.search(rb"VP8[ L]", data)
        return "WEBP", {"lossless": True, "exact": True} if first and first[0] == b"VP8L" else {"quality": QUALITY}
    return (kind, _OPTIONS[kind]) if kind in _OPTIONS else ("PNG", {})


def _clean(image: Image.Image) -> Image.Image:
    """The picture and its colours, without what else Pillow would write again."""
    image.info = {name: image.info[name] for name in ("icc_profile", "transparency") if name in image.info}
    return image


def _workable(image: Image.Image) -> Image.Image:
    """A copy in a mode whose levels can be averaged; palettes become RGB, or RGBA where they have transparency."""
    if image.mode in _MODES:
        return image.copy()
    if image.mode.startswith("I;16"):
        return image.convert("I")
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _widened(boxes: NDArray[np.float32], size: tuple[int, int], margin: float) -> NDArray[np.int32]:
    """(n, 4) whole pixels that the widened boxes touch, inside the image. Raises ValueError."""
    if boxes.ndim != 2 or boxes.shape[1] < 4 or not len(boxes):
        raise ValueError(f"boxes must be (n, 4 or more) with n >= 1, not {boxes.shape}")
    corners = boxes[:, :4].astype(np.float64)
    sides = corners[:, 2:] - corners[:, :2]
    if not np.isfinite(corners).all() or (sides < 0).any() or margin < 0:
        raise ValueError("boxes must be finite with x0 <= x1 and y0 <= y1, and the margin not negative")
    low = np.clip(np.floor(corners[:, :2] - margin * sides), 0, size)
    high = np.clip(np.ceil(corners[:, 2:] + margin * sides), 0, size)
    return np.concatenate([low, high], axis=1).astype(np.int32)


def _blur(image: Image.Image, face: NDArray[np.float64], reach: Box, margin: float) -> None:
    """Blur one face (x0 y0 x1 y1) in place; reach: the widened box inside the image."""
    sharp = np.array(image.crop(reach))
    cell = max(LEAST_CELL, float((face[2:] - face[:2]).max()) / CELLS)
    bands = sharp[:, :, None] if sharp.ndim == 2 else sharp
    soft = np.stack([_coarse(bands[:, :, band], cell) for band in range(bands.shape[2])], axis=2).reshape(sharp.shape)
    weight = _weights(face, reach, margin).reshape(sharp.shape[:2] + (1,) * (sharp.ndim - 2))
    mixed = sharp + weight * (soft - sharp)
    if np.issubdtype(sharp.dtype, np.integer):
        limits = np.iinfo(sharp.dtype)
        mixed = np.clip(np.round(mixed), limits.min, limits.max)
    pixels = np.where(weight > 0, mixed.astype(sharp.dtype), sharp)
    image.paste(Image.frombytes(image.mode, (sharp.shape[1], sharp.shape[0]), pixels.tobytes()), reach)


def _coarse(band: NDArray[Any], cell: float) -> NDArray[np.float32]:
    """(H, W) levels averaged over square cells, and drawn in full size again without edges between them."""
    height, width = band.shape
    cells = max(1, round(width / cell)), max(1, round(height / cell))
    small = Image.fromarray(band.astype(np.float32)).resize(cells, Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def _weights(face: NDArray[np.float64], reach: Box, margin: float) -> NDArray[np.float32]:
    """(H, W) of `reach`: 1 in the face's own ellipse and half the margin around it, falling to 0 at the widened box's."""
    middle, half = (face[:2] + face[2:]) / 2, np.maximum(0.5, (face[2:] - face[:2]) * (0.5 + margin))
    x = (np.arange(reach[0], reach[2]) + 0.5 - middle[0]) / half[0]
    y = (np.arange(reach[1], reach[3]) + 0.5 - middle[1]) / half[1]
    radius = np.sqrt(x[None, :] ** 2 + y[:, None] ** 2)
    feather = max(0.5 * margin / (0.5 + margin), 1e-6)
    return np.clip((1 - radius) / feather, 0, 1).astype(np.float32)


def _repainted(source: Image.Image, blurred: Image.Image, boxes: NDArray[np.int32]) -> Image.Image:
    """A picture with a palette, blurred in its own colours: a new palette would change pixels outside the faces."""
    before, after = np.asarray(_workable(source)), np.asarray(blurred)
    changed = Image.fromarray((before != after).any(axis=2))
    for reach in (tuple(box) for box in boxes.tolist() if box[0] < box[2] and box[1] < box[3]):
        source.paste(blurred.crop(reach).convert("RGB").quantize(palette=source), reach, changed.crop(reach))
    return source


def _encoded(image: Image.Image, kind: str, options: dict[str, Any]) -> tuple[bytes, str]:
    """The encoded bytes and their format: PNG if `kind` cannot hold the image's mode. Raises Reject if that cannot either."""
    for name, how in ((kind, options), ("PNG", {})):
        buffer = io.BytesIO()
        with contextlib.suppress(OSError, ValueError, KeyError):
            image.save(buffer, name, icc_profile=image.info.get("icc_profile"), **how)
            return buffer.getvalue(), name
    raise Reject("unwritable", f"neither {kind} nor PNG holds {image.mode}")
