"""Drawn pictures for training beside photographs: textures, shapes, plots, pages of text and fractals.

A network that has only met photographs has no use for its axes on drawings; a small share of these keeps them in view.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

Chance = np.random.Generator


def draw_pictures(count: int, side: int, seed: int = 0) -> Tensor:
    """Returns (count, 3, side, side) uint8; the kinds take turns. The same seed draws the same pictures."""
    chance = np.random.default_rng(seed)
    drawn = [KINDS[number % len(KINDS)](side, chance) for number in range(count)]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).contiguous()


def texture(side: int, chance: Chance) -> np.ndarray:
    """Sum of one to four plane waves between two colours, sometimes with hard edges."""
    y, x = np.mgrid[:side, :side] / side
    waves = [
        np.sin(2 * np.pi * (chance.normal(0, 5) * x + chance.normal(0, 5) * y) + chance.uniform(0, 6))
        for _ in range(chance.integers(1, 5))
    ]
    height = np.sum(waves, axis=0) / len(waves)
    return _tint(np.sign(height) if chance.random() < 0.3 else height, chance)


def noise(side: int, chance: Chance) -> np.ndarray:
    """Smooth noise: random fields of a few scales, enlarged and added."""
    total = np.zeros((side, side))
    for cells in (2, 4, 8, 16)[: chance.integers(1, 5)]:
        field = Image.fromarray(chance.normal(size=(cells, cells)).astype(np.float32))
        total += np.asarray(field.resize((side, side), Image.Resampling.BICUBIC)) / cells**0.5
    return _tint(total / (np.abs(total).max() + 1e-6), chance)


def fractal(side: int, chance: Chance) -> np.ndarray:
    """Escape times of a Julia set near the edge of the Mandelbrot set."""
    turn = chance.uniform(0, 2 * np.pi)
    c = np.exp(1j * turn) / 2 - np.exp(2j * turn) / 4 + 0.03 * chance.normal()
    y, x = (np.mgrid[:side, :side] / side - 0.5) * chance.uniform(1.5, 3.5)
    z, steps = x + 1j * y, np.zeros((side, side))
    for _ in range(24):
        alive = np.abs(z) < 3
        z[alive] = z[alive] ** 2 + c
        steps += alive
    return _tint(steps / 12 - 1, chance)


def shapes(side: int, chance: Chance) -> np.ndarray:
    """One to eight discs, boxes, triangles and lines."""
    image, pen = _canvas(side, chance)
    for _ in range(chance.integers(1, 9)):
        x, y, w, h = (chance.uniform([0, 0, 0.1, 0.1], [0.8, 0.8, 0.6, 0.6]) * side).tolist()
        kind, ink = chance.integers(4), _ink(chance)
        if kind == 0:
            pen.ellipse((x, y, x + w, y + h), fill=ink)
        elif kind == 1:
            pen.rectangle((x, y, x + w, y + h), fill=ink)
        elif kind == 2:
            pen.polygon([(x, y + h), (x + w / 2, y), (x + w, y + h)], fill=ink)
        else:
            pen.line((x, y, x + w, y + h), fill=ink, width=max(1, side // 20))
    return np.asarray(image)


def plot(side: int, chance: Chance) -> np.ndarray:
    """Axes with bars, a curve or points."""
    image, pen = _canvas(side, chance, light=True)
    low, high, ink = 0.12 * side, 0.92 * side, _ink(chance)
    pen.line([(low, 0.08 * side), (low, high), (high, high)], fill=(0, 0, 0))
    count = int(chance.integers(4, 14))
    x, y = np.linspace(low, high, count), high - np.abs(chance.normal(0.4, 0.2, count)).clip(0, 0.95) * (high - low)
    kind = chance.integers(3)
    if kind == 0:
        for left, top in zip(x, y, strict=True):
            pen.rectangle((left, min(top, high), left + 0.5 * (high - low) / count, high), fill=ink)
    elif kind == 1:
        pen.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=ink, width=max(1, side // 40))
    else:
        for left, top in zip(x, y, strict=True):
            pen.ellipse((left - 1, top - 1, left + 1.5, top + 1.5), fill=ink)
    return np.asarray(image)


def page(side: int, chance: Chance) -> np.ndarray:
    """Lines of random letters."""
    image, pen = _canvas(side, chance, light=chance.random() < 0.8)
    size = int(chance.integers(max(6, side // 10), side // 4))
    font, ink = ImageFont.load_default(size), _ink(chance) if chance.random() < 0.4 else (0, 0, 0)
    for top in np.arange(0.04 * side, side, size * chance.uniform(1.0, 1.6)):
        text = "".join(chance.choice(list("etaoin shrdlu ETAOIN 0123456789"), chance.integers(4, 24)))
        pen.text((0.05 * side, top), text, fill=ink, font=font)
    return np.asarray(image)


KINDS: tuple[Callable[[int, Chance], np.ndarray], ...] = (texture, noise, fractal, shapes, plot, page)


def _ink(chance: Chance) -> tuple[int, int, int]:
    r, g, b = chance.integers(0, 256, 3).tolist()
    return r, g, b


def _canvas(side: int, chance: Chance, light: bool = False) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (side, side), (255, 255, 255) if light else _ink(chance))
    return image, ImageDraw.Draw(image)


def _tint(height: np.ndarray, chance: Chance) -> np.ndarray:
    """Heights in [-1, 1] to a ramp between two random colours."""
    first, second = chance.integers(0, 256, (2, 3))
    share = (height.clip(-1, 1)[..., None] + 1) / 2
    return (first + share * (second - first)).astype(np.uint8)
