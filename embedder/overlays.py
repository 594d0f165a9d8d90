"""What people put over and around pictures: words, stickers, application windows, other scenes. With Pillow, for edits.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Apply = Callable[[Image.Image, np.random.Generator], Image.Image]
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "nobody",
    "looks",
    "at",
    "new",
    "prices",
    "today",
    "only",
]


def write(lines: int, low: float, high: float) -> Apply:
    """Lines of words over the picture, letters a share low to high of the height."""

    def apply(image: Image.Image, chance: np.random.Generator) -> Image.Image:
        image = image.copy()
        pen = ImageDraw.Draw(image)
        for _ in range(lines):
            font = ImageFont.load_default(max(8, image.height * chance.uniform(low, high)))
            text = " ".join(chance.choice(WORDS, chance.integers(2, 6)))
            at = (chance.uniform(0, 0.4) * image.width, chance.uniform(0, 0.85) * image.height)
            ink = tuple(int(c) for c in chance.choice([0, 255, 60, 200], 3))
            pen.text(at, text, fill=ink, font=font, stroke_width=int(chance.integers(3)), stroke_fill=(0, 0, 0))
        return image

    return apply


def stickers(count: int) -> Apply:
    """Emoji-like faces, a tenth to a half of the shorter edge."""

    def apply(image: Image.Image, chance: np.random.Generator) -> Image.Image:
        image = image.copy()
        for _ in range(count):
            side = max(8, int(min(image.size) * chance.uniform(0.1, 0.5)))
            x, y = (int(chance.uniform(0, edge - side)) for edge in image.size)
            image.paste(_face(side, chance), (x, y), _disc(side))
        return image

    return apply


def _face(side: int, chance: np.random.Generator) -> Image.Image:
    face = Image.new("RGB", (side, side), tuple(int(c) for c in chance.integers(90, 256, 3)))
    pen, s = ImageDraw.Draw(face), side / 10
    for x in (3, 6):
        pen.ellipse((x * s, 3 * s, (x + 1.2) * s, 4.5 * s), fill=(20, 20, 20))
    pen.arc((2.5 * s, 3 * s, 7.5 * s, 8 * s), 20, 160, fill=(20, 20, 20), width=max(1, int(s * 0.6)))
    return face


def _disc(side: int) -> Image.Image:
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).ellipse((0, 0, side - 1, side - 1), fill=255)
    return mask


def screenshot(image: Image.Image, chance: np.random.Generator) -> Image.Image:
    """Shown in an application's window: bars above and below, lines of text beside or under it."""
    w, h = image.size
    page = Image.new("RGB", (round(w * chance.uniform(1.0, 1.3)), round(h * chance.uniform(1.3, 1.7))), (250, 250, 250))
    pen, top = ImageDraw.Draw(page), round(h * chance.uniform(0.08, 0.2))
    pen.rectangle((0, 0, page.width, top * 0.7), fill=tuple(int(c) for c in chance.integers(30, 220, 3)))
    page.paste(image, (int(chance.integers(0, page.width - w + 1)), top))
    for at in range(top + h + 8, page.height - 12, max(14, h // 12)):
        pen.text((10, at), " ".join(chance.choice(WORDS, 6)), fill=(40, 40, 40), font=ImageFont.load_default(max(8, h // 20)))
    return page


def background(low: float, high: float) -> Apply:
    """Pasted into another scene of waves and discs: the picture covers a share low to high of both edges."""

    def apply(image: Image.Image, chance: np.random.Generator) -> Image.Image:
        share = chance.uniform(low, high)
        w, h = (round(edge / share) for edge in image.size)
        scene = _scene(w, h, chance)
        scene.paste(image, tuple(int(chance.integers(0, room + 1)) for room in (w - image.width, h - image.height)))
        return scene

    return apply


def _scene(w: int, h: int, chance: np.random.Generator) -> Image.Image:
    coarse = chance.integers(0, 256, (int(chance.integers(3, 12)), int(chance.integers(3, 12)), 3)).astype(np.uint8)
    scene = Image.fromarray(coarse).resize((w, h), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(scene)
    for _ in range(int(chance.integers(5, 30))):
        x, y, r = chance.uniform(0, w), chance.uniform(0, h), chance.uniform(0.02, 0.2) * w
        pen.ellipse((x - r, y - r, x + r, y + r), fill=tuple(int(c) for c in chance.integers(0, 256, 3)))
    return scene


def opacity(low: float, high: float) -> Apply:
    """Another scene blended over it."""
    return lambda image, chance: Image.blend(image, _scene(*image.size, chance), chance.uniform(low, high))
