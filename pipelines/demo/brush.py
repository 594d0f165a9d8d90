"""What the concepts are drawn with: palettes, noise, shapes. All sizes in pixels, all colours (r, g, b) of 0..255."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Rng = np.random.Generator
Colour = tuple[int, int, int]


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour from hue (turns), saturation and value (0..1, clipped)."""
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, min(1.0, max(0.0, saturation)), min(1.0, max(0.0, value)))
    return round(r * 255), round(g * 255), round(b * 255)


def near(
    rng: Rng, hue: float, spread: float = 0.04, s: tuple[float, float] = (0.5, 0.9), v: tuple[float, float] = (0.5, 0.95)
) -> Colour:
    """A colour of about this hue."""
    return hsv(hue + rng.uniform(-spread, spread), rng.uniform(*s), rng.uniform(*v))


def any_colour(rng: Rng, s: tuple[float, float] = (0.4, 0.95), v: tuple[float, float] = (0.4, 0.95)) -> Colour:
    return hsv(rng.random(), rng.uniform(*s), rng.uniform(*v))


def canvas(size: tuple[int, int], colour: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", size, colour)
    return image, ImageDraw.Draw(image)


def gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    """A vertical blend of two colours."""
    ramp = np.linspace(0, 1, size[1])[:, None, None]
    rows = np.array(top) * (1 - ramp) + np.array(bottom) * ramp
    return Image.fromarray(np.broadcast_to(rows, (size[1], size[0], 3)).astype(np.uint8))


def noise(rng: Rng, size: tuple[int, int], cells: int, octaves: int = 3) -> NDArray[np.float32]:
    """(H, W) smooth noise in 0..1: random grids of `cells`, 2 x cells, ... laid over each other."""
    total = np.zeros(size[::-1], np.float32)
    for octave in range(octaves):
        n = max(2, cells * 2**octave)
        grid = Image.fromarray(rng.random((n, n), np.float32), "F").resize(size, Image.Resampling.BICUBIC)
        total += np.asarray(grid) / 2**octave
    return (total - total.min()) / (np.ptp(total) + 1e-6)


def tint(values: NDArray[np.float32], colours: Sequence[Colour]) -> Image.Image:
    """(H, W) in 0..1 through a list of colours, blended between neighbours."""
    stops = np.linspace(0, 1, len(colours))
    channels = [np.interp(values, stops, [c[i] for c in colours]) for i in range(3)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def grid(size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """x and y of every pixel, (H, W) each."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    return x, y


def disc(
    draw: ImageDraw.ImageDraw, x: float, y: float, r: float, fill: Colour, outline: Colour | None = None, width: int = 1
) -> None:
    draw.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=outline, width=width)


def ridge(rng: Rng, width: int, base: float, height: float, rough: int = 4) -> list[tuple[float, float]]:
    """A hilly line from left to right, (x, y) every few pixels."""
    xs = np.linspace(0, width, 60)
    ys = sum(
        height / (i + 1) * np.sin(xs / width * 6.28 * rng.uniform(0.4, 1.2) * (i + 1) + rng.uniform(0, 6.28))
        for i in range(rough)
    )
    return [(float(x), float(base + y)) for x, y in zip(xs, np.asarray(ys), strict=True)]


def land(draw: ImageDraw.ImageDraw, line: list[tuple[float, float]], size: tuple[int, int], fill: Colour) -> None:
    """Fill everything below a line."""
    draw.polygon([*line, (size[0], size[1]), (0, size[1])], fill=fill)


def font(pixels: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(6, round(pixels)))


WORDS = [
    "river", "stone", "garden", "winter", "letter", "window", "market", "silver", "cloud", "engine",
    "forest", "paper", "number", "signal", "harbour", "candle", "method", "result", "figure", "sample",
    "measure", "light", "carbon", "valley", "summer", "bridge", "record", "theory", "animal", "metal",
    "village",
]  # fmt: skip


def sentence(rng: Rng, words: int) -> str:
    return " ".join(rng.choice(WORDS, words))


def shade(colour: Colour, factor: float) -> Colour:
    r, g, b = (min(255, max(0, round(c * factor))) for c in colour)
    return r, g, b
