"""The edits that people make of images before they post them again: what the demo's copies are made by."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from pipelines.demo.brush import Rng, any_colour, font, sentence

Edit = Callable[[Rng, Image.Image], Image.Image]


def as_bytes(image: Image.Image, kind: str = "JPEG", **more: object) -> bytes:
    """Encoded bytes; JPEG at quality 90 unless told otherwise."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 90} if kind == "JPEG" else {}) | more)
    return buffer.getvalue()


def jpeg(rng: Rng, image: Image.Image) -> Image.Image:
    """Quality 20 to 50."""
    return Image.open(io.BytesIO(as_bytes(image, quality=int(rng.integers(20, 51))))).convert("RGB")


def resize(rng: Rng, image: Image.Image) -> Image.Image:
    """40 to 70% of each side."""
    scale = rng.uniform(0.4, 0.7)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def crop(rng: Rng, image: Image.Image) -> Image.Image:
    """75 to 92% of the area, anywhere."""
    side = rng.uniform(0.75, 0.92) ** 0.5
    w, h = round(image.width * side), round(image.height * side)
    x, y = int(rng.integers(0, image.width - w + 1)), int(rng.integers(0, image.height - h + 1))
    return image.crop((x, y, x + w, y + h))


def mirror(_rng: Rng, image: Image.Image) -> Image.Image:
    return ImageOps.mirror(image)


def rotate(rng: Rng, image: Image.Image) -> Image.Image:
    """2 to 8 degrees, corners black."""
    return image.rotate(float(rng.choice([-1, 1]) * rng.uniform(2, 8)), Image.Resampling.BICUBIC)


def grey(_rng: Rng, image: Image.Image) -> Image.Image:
    return ImageOps.grayscale(image).convert("RGB")


def tone(rng: Rng, image: Image.Image) -> Image.Image:
    """Contrast, brightness and saturation, up to 35% each."""
    for enhancer in (ImageEnhance.Contrast, ImageEnhance.Brightness, ImageEnhance.Color):
        image = enhancer(image).enhance(float(rng.uniform(0.65, 1.35)))
    return image


def blur(rng: Rng, image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(1, 2.5))))


def sharpen(_rng: Rng, image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.UnsharpMask(3, 180, 2))


def caption(rng: Rng, image: Image.Image) -> Image.Image:
    """Text over the image."""
    out = image.copy()
    size = image.height * rng.uniform(0.06, 0.12)
    at = (image.width * rng.uniform(0.02, 0.3), image.height * rng.uniform(0.05, 0.85))
    ImageDraw.Draw(out).text(
        at, sentence(rng, 2), fill=any_colour(rng, (0, 1), (0.8, 1)), font=font(size), stroke_width=1, stroke_fill="black"
    )
    return out


def watermark(rng: Rng, image: Image.Image) -> Image.Image:
    """Pale text repeated over the whole image."""
    layer = Image.new("RGBA", image.size, (255, 255, 255, 0))
    pen, text = ImageDraw.Draw(layer), sentence(rng, 1)
    for x in range(0, image.width, 90):
        for y in range(0, image.height, 60):
            pen.text((x, y), text, fill=(255, 255, 255, 90), font=font(16))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def border(rng: Rng, image: Image.Image) -> Image.Image:
    """A frame of 1 to 3% of the shorter side."""
    return ImageOps.expand(image, max(2, round(min(image.size) * rng.uniform(0.01, 0.03))), any_colour(rng, (0, 0.3), (0, 1)))


EDITS: dict[str, Edit] = {
    e.__name__: e for e in (jpeg, resize, crop, mirror, rotate, grey, tone, blur, sharpen, caption, watermark, border)
}
"""Edit by name."""


def edit(image: Image.Image, name: str, seed: int) -> Image.Image:
    """`image` after one edit, a function of the arguments alone."""
    return EDITS[name](np.random.default_rng([seed, 17]), image)
