"""Two narrow domains drawn for measuring: pages on shared templates, and chest films that all look alike.

Letters: S pixels of the longer edge.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

WORDS = ("account", "amount", "annual", "balance", "board", "city", "client", "contract", "date", "delivery", "director",
         "due", "eight", "factory", "invoice", "item", "letter", "machine", "month", "north", "number", "office", "order",
         "paid", "paper", "part", "payment", "person", "price", "quarter", "report", "result", "sample", "service", "sheet",
         "street", "supply", "table", "total", "unit", "value", "water", "week", "year")  # fmt: skip
WIDE, HIGH, INK = 480, 640, (30, 30, 30)
TEMPLATES = 4  # of each of letter, table, form
SIDE = 256  # of a film


def page(chance: np.random.Generator) -> Image.Image:
    """A letter, a table or a form: the template is shared by many, the words are its own."""
    kind, template = int(chance.integers(3)), int(chance.integers(TEMPLATES))
    fixed = np.random.default_rng([kind, template])  # the same for every page of the template
    sheet = Image.new("RGB", (WIDE, HIGH), tuple(int(c) for c in fixed.integers(235, 256, 3)))
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((30, 24, 30 + int(fixed.integers(60, 200)), 60), fill=tuple(int(c) for c in fixed.integers(20, 200, 3)))
    (_letter, _table, _form)[kind](pen, fixed, chance)
    return sheet


def _words(chance: np.random.Generator, count: int) -> str:
    return " ".join(chance.choice(WORDS, count))


def _letter(pen: ImageDraw.ImageDraw, fixed: np.random.Generator, chance: np.random.Generator) -> None:
    size, top = int(fixed.integers(10, 14)), int(fixed.integers(90, 160))
    font = ImageFont.load_default(size)
    for line in range(int(chance.integers(14, 26))):
        if chance.uniform() < 0.85:
            pen.text((40, top + line * (size + 6)), _words(chance, int(chance.integers(4, 9))), INK, font)


def _table(pen: ImageDraw.ImageDraw, fixed: np.random.Generator, chance: np.random.Generator) -> None:
    font, rows, columns = ImageFont.load_default(10), int(fixed.integers(14, 22)), int(fixed.integers(3, 6))
    step, wide = 480 // rows, (WIDE - 60) // columns
    for row in range(rows):
        for column in range(columns):
            x, y = 30 + column * wide, 110 + row * step
            pen.rectangle((x, y, x + wide, y + step), outline=(120, 120, 120))
            text = _words(chance, 1) if column == 0 else f"{chance.uniform(0, 10_000):.2f}"
            pen.text((x + 4, y + 4), text, INK, font)


def _form(pen: ImageDraw.ImageDraw, fixed: np.random.Generator, chance: np.random.Generator) -> None:
    label, hand = ImageFont.load_default(9), ImageFont.load_default(14)
    for row in range(int(fixed.integers(8, 13))):
        y = 100 + row * 42
        pen.text((34, y), _words(fixed, 2), (100, 100, 100), label)
        pen.rectangle((30, y + 12, WIDE - 30, y + 36), outline=(150, 150, 150))
        if chance.uniform() < 0.9:
            pen.text((36, y + 15), _words(chance, int(chance.integers(1, 5))), (20, 30, 120), hand)


def film(chance: np.random.Generator) -> Image.Image:
    """A grey chest film: two lungs, a heart, a spine, ribs, noise; all alike but for small shifts."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    shift = chance.normal(0, 0.012, 12)
    body = 0.75 * _blob(x, y, 0.5 + shift[0], 0.55, 0.48, 0.6)
    lungs = sum(
        _blob(x, y, 0.5 + side * (0.2 + shift[1]), 0.45 + shift[2], 0.14 + shift[3], 0.3 + shift[4]) for side in (-1, 1)
    )
    heart = _blob(x, y, 0.55 + shift[5], 0.6 + shift[6], 0.13 + shift[7], 0.13 + shift[8])
    spine = np.exp(-(((x - 0.5 - shift[0]) / 0.03) ** 2))
    curve = y - 0.35 * np.abs(x - 0.5) - 0.1 * shift[9]
    ribs = np.clip(np.sin(2 * np.pi * curve * (10 + 20 * shift[10])), 0, 1) * lungs
    coarse = Image.fromarray(chance.normal(0, 1, (24, 24)).astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    grey = body - 0.5 * lungs + 0.35 * heart + 0.2 * spine + 0.12 * ribs + 0.03 * np.asarray(coarse)
    grey = grey * (1 + shift[11]) + chance.normal(0, 0.02, grey.shape)
    film = Image.fromarray((255 * np.clip(grey, 0, 1)).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))
    return film.convert("RGB")


def _blob(x: np.ndarray, y: np.ndarray, at_x: float, at_y: float, wide: float, high: float) -> np.ndarray:
    return 1 / (1 + np.exp(np.minimum(60, 12 * (((x - at_x) / wide) ** 2 + ((y - at_y) / high) ** 2 - 1))))


DRAWN: dict[str, Callable[[np.random.Generator], Image.Image]] = {"documents": page, "films": film}


def draw_domain(name: str, folder: Path, count: int, seed: int) -> Path:
    """`count` pictures of a drawn domain as JPEG files."""
    folder.mkdir(parents=True)
    for number in range(count):
        picture = DRAWN[name](np.random.default_rng([seed, number]))
        picture.save(folder / f"{number:05d}.jpg", quality=90)
    return folder
