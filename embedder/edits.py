"""What people do to pictures before they post them again: the edits that copies are told by, at full size, with Pillow.

`EVERYDAY` are the edits of ordinary re-posting, `HARD` those of the copy-detection literature: the kinds that SSCD trains
on (arXiv 2202.10261 section 4.3) and that the DISC2021 benchmark applies (arXiv 2106.09672 section 4). Training uses
edits of its own on tensors (`augment.py`); these are for measuring: by whoever calibrates thresholds, and by benchmarks.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from embedder.overlays import Apply, background, opacity, screenshot, stickers, write


@dataclass(frozen=True)
class Edit:
    """One kind of edit. `apply(RGB image, generator)` returns a new RGB image; the same generator state, the same image."""

    name: str
    strength: str
    apply: Apply


def make_edits(edits: tuple[Edit, ...], image: Image.Image, chance: np.random.Generator) -> Image.Image:
    """Apply several edits, one after the other."""
    for edit in edits:
        image = edit.apply(image, chance).convert("RGB")
    return image


def jpeg(low: int, high: int) -> Apply:
    """Through JPEG at a quality from low to high."""

    def apply(image: Image.Image, chance: np.random.Generator) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(chance.integers(low, high + 1)))
        return Image.open(file).convert("RGB")

    return apply


def resize(low: float, high: float) -> Apply:
    """To a share of both edges."""
    return lambda image, chance: _scaled(image, *[chance.uniform(low, high)] * 2)


def pixelate(low: float, high: float) -> Apply:
    """Down to a share of both edges and up again without smoothing."""

    def apply(image: Image.Image, chance: np.random.Generator) -> Image.Image:
        small = _scaled(image, *[chance.uniform(low, high)] * 2)
        return small.resize(image.size, Image.Resampling.NEAREST)

    return apply


def stretch(low: float, high: float) -> Apply:
    """One edge made longer or shorter by a factor of low to high."""

    def apply(image: Image.Image, chance: np.random.Generator) -> Image.Image:
        factor = chance.uniform(low, high) ** chance.choice([-1, 1])
        return _scaled(image, math.sqrt(factor), 1 / math.sqrt(factor))

    return apply


def _scaled(image: Image.Image, x: float, y: float) -> Image.Image:
    size = (max(8, round(image.width * x)), max(8, round(image.height * y)))
    return image.resize(size, Image.Resampling.BICUBIC)


def crop(low: float, high: float, aspect: float = 1.15) -> Apply:
    """A part that covers a share low to high of the area, anywhere."""

    def apply(image: Image.Image, chance: np.random.Generator) -> Image.Image:
        area, ratio = chance.uniform(low, high), aspect ** chance.uniform(-0.5, 0.5)
        w, h = (max(8, round(edge * min(1.0, math.sqrt(area) * by)))
                for edge, by in ((image.width, ratio), (image.height, 1 / ratio)))  # fmt: skip
        x, y = (int(chance.integers(0, room + 1)) for room in (image.width - w, image.height - h))
        return image.crop((x, y, x + w, y + h))

    return apply


def rotate(low: float, high: float) -> Apply:
    """By low to high degrees either way, corners filled with one grey or black."""

    def apply(image: Image.Image, chance: np.random.Generator) -> Image.Image:
        angle = chance.uniform(low, high) * chance.choice([-1, 1])
        return image.rotate(angle, Image.Resampling.BICUBIC, expand=bool(chance.integers(2)), fillcolor=_plain(chance))

    return apply


def _plain(chance: np.random.Generator) -> tuple[int, int, int]:
    shade = int(chance.choice([0, 0, 255, 128]))
    return (shade, shade, shade)


def turn(image: Image.Image, chance: np.random.Generator) -> Image.Image:
    """By 90, 180 or 270 degrees."""
    return image.rotate(int(chance.choice([90, 180, 270])), expand=True)


def mirror(image: Image.Image, _chance: np.random.Generator) -> Image.Image:
    """Left to right."""
    return ImageOps.mirror(image)


def flip(image: Image.Image, _chance: np.random.Generator) -> Image.Image:
    """Top to bottom."""
    return ImageOps.flip(image)


def grey(image: Image.Image, chance: np.random.Generator) -> Image.Image:
    """Without colour, with another contrast."""
    return ImageEnhance.Contrast(ImageOps.grayscale(image).convert("RGB")).enhance(chance.uniform(0.6, 1.6))


def colour(strength: float) -> Apply:
    """Brightness, contrast and saturation by factors of 1 - strength to 1 + strength, and a shift of hue."""

    def apply(image: Image.Image, chance: np.random.Generator) -> Image.Image:
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = kind(image).enhance(chance.uniform(1 - strength, 1 + strength))
        hsv = np.array(image.convert("HSV"))
        hsv[..., 0] += np.uint8(int(chance.uniform(-0.2, 0.2) * strength * 255) % 256)
        return Image.fromarray(hsv, "HSV").convert("RGB")

    return apply


def blur(low: float, high: float) -> Apply:
    """Gaussian, sigma a share of the longer edge."""
    return lambda image, chance: image.filter(ImageFilter.GaussianBlur(chance.uniform(low, high) * max(image.size)))


def noise(low: float, high: float) -> Apply:
    """Gaussian, in units of full brightness."""

    def apply(image: Image.Image, chance: np.random.Generator) -> Image.Image:
        pixels = np.asarray(image, np.float32)
        pixels = pixels + 255 * chance.uniform(low, high) * chance.standard_normal(pixels.shape, np.float32)
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    return apply


def frame(low: float, high: float) -> Apply:
    """A plain border, a share low to high of each edge."""

    def apply(image: Image.Image, chance: np.random.Generator) -> Image.Image:
        x, y = (round(edge * chance.uniform(low, high)) for edge in image.size)
        return ImageOps.expand(image, (x, y), _plain(chance))

    return apply


def perspective(low: float, high: float) -> Apply:
    """Each corner moved inwards by a share of the edges up to low to high, as a photograph of a screen shows it."""

    def apply(image: Image.Image, chance: np.random.Generator) -> Image.Image:
        w, h = image.size
        far = chance.uniform(low, high)
        dx, dy = chance.uniform(0, far, 4) * w, chance.uniform(0, far, 4) * h
        seen = (-dx[0], -dy[0], -dx[1], h + dy[1], w + dx[2], h + dy[2], w + dx[3], -dy[3])
        return image.transform((w, h), Image.Transform.QUAD, tuple(map(float, seen)), Image.Resampling.BICUBIC)

    return apply


def sharpen(image: Image.Image, chance: np.random.Generator) -> Image.Image:
    """Edges three to eight times as strong."""
    return ImageEnhance.Sharpness(image).enhance(chance.uniform(3, 8))


EVERYDAY = (
    Edit("jpeg", "quality 10 to 60", jpeg(10, 60)),
    Edit("resize", "to 30 to 80% of both edges", resize(0.3, 0.8)),
    Edit("crop", "to 60 to 90% of the area", crop(0.6, 0.9)),
    Edit("mirror", "left to right", mirror),
    Edit("rotate", "by 3 to 15 degrees", rotate(3, 15)),
    Edit("grey", "contrast 0.6 to 1.6", grey),
    Edit("colour", "brightness, contrast, saturation within 0.4", colour(0.4)),
    Edit("blur", "sigma 0.3 to 1% of the longer edge", blur(0.003, 0.01)),
    Edit("text", "two lines, 6 to 12% of the height", write(2, 0.06, 0.12)),
    Edit("frame", "3 to 15% of each edge", frame(0.03, 0.15)),
)
HARD = (
    Edit("crop_small", "to 25 to 50% of the area", crop(0.25, 0.5, 1.5)),
    Edit("rotate_far", "by 15 to 60 degrees", rotate(15, 60)),
    Edit("turn", "by 90, 180 or 270 degrees", turn),
    Edit("flip", "top to bottom", flip),
    Edit("stretch", "one edge by 1.4 to 2.2", stretch(1.4, 2.2)),
    Edit("blur_strong", "sigma 1 to 2.5% of the longer edge", blur(0.01, 0.025)),
    Edit("pixelate", "to 10 to 25% of both edges", pixelate(0.1, 0.25)),
    Edit("noise", "0.1 to 0.3 of full brightness", noise(0.1, 0.3)),
    Edit("colour_strong", "within 0.8", colour(0.8)),
    Edit("jpeg_low", "quality 3 to 10", jpeg(3, 10)),
    Edit("text_heavy", "six lines, 8 to 20% of the height", write(6, 0.08, 0.2)),
    Edit("stickers", "three, a tenth to a half of the shorter edge", stickers(3)),
    Edit("screenshot", "bars and text around it", screenshot),
    Edit("background", "in another scene, 45 to 80% of both edges", background(0.45, 0.8)),
    Edit("perspective", "corners moved by up to 10 to 25%", perspective(0.1, 0.25)),
    Edit("opacity", "another scene over it, 20 to 45%", opacity(0.2, 0.45)),
    Edit("sharpen", "edges 3 to 8 times as strong", sharpen),
)
