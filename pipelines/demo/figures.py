"""Plots, text, signs and maps. Each function draws one picture of its concept."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from pipelines.demo.brush import Rng, any_colour, canvas, disc, font, near, noise, sentence, shade, tint

Size = tuple[int, int]


def _axes(rng: Rng, size: Size) -> tuple[Image.Image, ImageDraw.ImageDraw, tuple[float, float, float, float]]:
    """Paper, axes with ticks, and the box (left, top, right, bottom) to plot in."""
    w, h = size
    image, draw = canvas(size, any_colour(rng, (0, 0.08), (0.93, 1)))
    left, top, right, bottom = (
        w * rng.uniform(0.08, 0.18),
        h * rng.uniform(0.05, 0.18),
        w * rng.uniform(0.86, 0.97),
        h * rng.uniform(0.8, 0.92),
    )
    for y in np.linspace(top, bottom, int(rng.integers(4, 9))):
        draw.line([(left, y), (right, y)], fill=(215, 215, 220))
    draw.line([(left, top), (left, bottom), (right, bottom)], fill=(40, 40, 40), width=2)
    draw.text((left, top - h * 0.09), sentence(rng, 2), fill=(40, 40, 40), font=font(h * 0.05))
    return image, draw, (left, top, right, bottom)


def bar_chart(rng: Rng, size: Size) -> Image.Image:
    """Coloured bars over an axis, upright or lying."""
    image, draw, (left, top, right, bottom) = _axes(rng, size)
    bars, lying, thick = int(rng.integers(3, 14)), rng.random() < 0.4, rng.uniform(0.15, 0.48)
    colours = [any_colour(rng) for _ in range(int(rng.integers(1, 5)))]
    for k in range(bars):
        share, start, stop = rng.uniform(0.05, 1), (k + 0.5 - thick) / bars, (k + 0.5 + thick) / bars
        if lying:
            box = (left, top + start * (bottom - top), left + share * (right - left), top + stop * (bottom - top))
        else:
            box = (left + start * (right - left), bottom - share * (bottom - top), left + stop * (right - left), bottom)
        draw.rectangle(box, fill=colours[k % len(colours)])
    return image


def line_chart(rng: Rng, size: Size) -> Image.Image:
    """Curves over an axis."""
    image, draw, (left, top, right, bottom) = _axes(rng, size)
    for _ in range(int(rng.integers(1, 5))):
        n = int(rng.integers(8, 60))
        ys = np.cumsum(rng.normal(rng.uniform(-0.4, 0.4), 1, n))
        ys = (ys - ys.min()) / (np.ptp(ys) + 1e-6) * rng.uniform(0.4, 1)
        xs = np.linspace(left, right, n)
        draw.line(
            [(float(x), float(bottom - y * (bottom - top))) for x, y in zip(xs, ys, strict=True)],
            fill=any_colour(rng, (0.6, 1), (0.3, 0.9)),
            width=int(rng.integers(2, 5)),
        )
    return image


def scatter(rng: Rng, size: Size) -> Image.Image:
    """Clouds of points over an axis."""
    image, draw, (left, top, right, bottom) = _axes(rng, size)
    for _ in range(int(rng.integers(2, 5))):
        cx, cy, spread = rng.uniform(left, right), rng.uniform(top, bottom), rng.uniform(0.05, 0.2)
        colour, r = any_colour(rng, (0.6, 1), (0.4, 0.95)), rng.uniform(2.5, 5)
        for dx, dy in rng.normal(0, spread, (int(rng.integers(20, 80)), 2)):
            x, y = cx + dx * (right - left), cy + dy * (bottom - top)
            if left < x < right and top < y < bottom:
                disc(draw, x, y, r, colour)
    return image


def pie_chart(rng: Rng, size: Size) -> Image.Image:
    """One or two discs cut in coloured slices."""
    image, draw = canvas(size, any_colour(rng, (0, 0.1), (0.9, 1)))
    many = int(rng.integers(1, 3))
    for n in range(many):
        x, y = size[0] * (rng.uniform(0.3, 0.7) + n) / many, size[1] * rng.uniform(0.35, 0.65)
        _pie(draw, rng, x, y, min(size) * rng.uniform(0.22, 0.45) / many**0.4)
    return image


def _pie(draw: ImageDraw.ImageDraw, rng: Rng, x: float, y: float, r: float) -> None:
    at = rng.uniform(0, 360)
    for share in rng.dirichlet(np.full(int(rng.integers(3, 9)), 2.0)):
        colour = any_colour(rng, (0.5, 0.95), (0.3, 1))
        draw.pieslice((x - r, y - r, x + r, y + r), at, at + 360 * share, fill=colour, outline="white", width=2)
        at += 360 * share
    if rng.random() < 0.4:
        disc(draw, x, y, r * 0.45, (250, 250, 250))


def document(rng: Rng, size: Size) -> Image.Image:
    """A page of print."""
    w, h = size
    image, draw = canvas(size, any_colour(rng, (0, 0.08), (0.93, 1)))
    margin, columns, line = w * rng.uniform(0.05, 0.14), int(rng.integers(1, 4)), h * rng.uniform(0.028, 0.05)
    y = h * rng.uniform(0.04, 0.1)
    if rng.random() < 0.8:
        draw.text((margin, y), sentence(rng, 3).title(), fill=(15, 15, 15), font=font(line * 2))
        y += line * 3.5
    width = (w - 2 * margin) / columns
    for column in range(columns):
        _column(draw, rng, margin + column * width, y, width * 0.93, h, line)
    return image


def _column(draw: ImageDraw.ImageDraw, rng: Rng, x: float, y: float, width: float, bottom: int, line: float) -> None:
    while y < bottom - line * 2:
        if rng.random() < 0.1:
            y += line
        elif rng.random() < 0.04:
            tall = line * rng.uniform(4, 8)
            draw.rectangle((x, y, x + width, min(bottom - line, y + tall)), fill=any_colour(rng, (0, 0.3), (0.5, 0.8)))
            y += tall + line
        draw.text((x, y), sentence(rng, max(1, int(width / line / 3.6))), fill=(45, 45, 50), font=font(line * 0.85))
        y += line * 1.25


def terminal(rng: Rng, size: Size) -> Image.Image:
    """Code on a dark screen."""
    w, h = size
    image, draw = canvas(size, near(rng, 0.63, 0.08, (0.1, 0.6), (0.06, 0.2)))
    line, palette = h * rng.uniform(0.04, 0.065), [any_colour(rng, (0.3, 0.8), (0.75, 1)) for _ in range(5)]
    y, indent = line * rng.uniform(0.3, 2), 0
    while y < h - line:
        indent = int(np.clip(indent + rng.integers(-1, 2), 0, 5))
        x = w * 0.03 + indent * line * 1.3
        for _ in range(int(rng.integers(0, 6))):
            word = str(
                rng.choice(
                    ["def", "for", "return", "if x:", "= 0", "print(y)", "import", "self.n", "[i]", "lambda", "None", "+ 1"]
                )
            )
            draw.text((x, y), word, fill=palette[rng.integers(5)], font=font(line * 0.8))
            x += draw.textlength(word + " ", font=font(line * 0.8))
        y += line * 1.2
    return image


def road_sign(rng: Rng, size: Size) -> Image.Image:
    """Traffic signs on poles, before sky or trees."""
    hue = rng.choice([0.57, 0.33, 0.1])
    image = tint(
        noise(rng, size, int(rng.integers(2, 7))),
        [near(rng, hue, 0.05, (0.1, 0.6), (0.3, 0.7)), near(rng, hue, 0.05, (0.05, 0.3), (0.7, 1))],
    )
    for _ in range(int(rng.integers(1, 4))):
        x, y, r = size[0] * rng.uniform(0.15, 0.85), size[1] * rng.uniform(0.2, 0.7), min(size) * rng.uniform(0.12, 0.32)
        _sign(ImageDraw.Draw(image), rng, x, y, r, size[1])
    return image


def _sign(draw: ImageDraw.ImageDraw, rng: Rng, x: float, y: float, r: float, ground: int) -> None:
    draw.rectangle((x - r * 0.07, y, x + r * 0.07, ground), fill=(120, 122, 125))
    sides, turn = [(3, -1.57), (8, 0.39), (4, 0), (40, 0)][rng.integers(4)]
    white = (248, 248, 245) if rng.random() < 0.7 else near(rng, 0.14, 0.02, (0.8, 1), (0.9, 1))
    for k, colour in ((1.0, near(rng, 0.0, 0.015, (0.85, 1), (0.75, 0.95))), (0.78, white)):
        angles = [turn + 6.283 * i / sides for i in range(sides)]
        draw.polygon([(x + k * r * math.cos(a), y + k * r * math.sin(a)) for a in angles], fill=colour)
    draw.text((x, y), str(rng.integers(10, 130)), fill=(20, 20, 20), font=font(r * 0.65), anchor="mm")


def street_map(rng: Rng, size: Size) -> Image.Image:
    """Streets, parks and water from above."""
    w, h = size
    image, draw = canvas(size, (238, 234, 226))
    for hue, count in ((0.3, int(rng.integers(1, 5))), (0.56, int(rng.integers(0, 3)))):
        for _ in range(count):
            x, y, r = rng.uniform(0, w), rng.uniform(0, h), min(size) * rng.uniform(0.1, 0.3)
            draw.polygon(
                [
                    (x + r * rng.uniform(0.6, 1.2) * math.cos(a), y + r * rng.uniform(0.6, 1.2) * math.sin(a))
                    for a in np.linspace(0, 5.6, 9)
                ],
                fill=near(rng, hue, 0.02, (0.25, 0.4), (0.8, 0.92)),
            )
    tilt = rng.uniform(-0.5, 0.5)
    for _ in range(int(rng.integers(10, 24))):
        a, x, y = tilt + rng.choice([0, 1.57]) + rng.normal(0, 0.07), rng.uniform(0, w), rng.uniform(0, h)
        dx, dy, wide = 900 * math.cos(a), 900 * math.sin(a), int(rng.choice([3, 4, 6, 10], p=[0.4, 0.3, 0.2, 0.1]))
        draw.line([(x - dx, y - dy), (x + dx, y + dy)], fill=(205, 200, 190), width=wide + 2)
        draw.line([(x - dx, y - dy), (x + dx, y + dy)], fill=(250, 225, 140) if wide > 6 else (255, 255, 255), width=wide)
    return image


def flag(rng: Rng, size: Size) -> Image.Image:
    """A waving striped flag."""
    w, h = size
    x, y = np.mgrid[0:w, 0:h].astype(np.float32)
    wave = np.sin(x / w * rng.uniform(5, 12) + rng.uniform(0, 6)) * h * rng.uniform(0.02, 0.07)
    stripes, colours = int(rng.integers(2, 6)), [any_colour(rng, (0.5, 1), (0.5, 1)) for _ in range(5)]
    upright = rng.random() < 0.4
    position = (x + wave) / w if upright else (y + wave) / h
    image = np.array(colours, np.uint8)[np.clip((position * stripes).astype(int), 0, stripes - 1) % 5]
    light = (0.85 + 0.15 * np.cos(x / w * 9 + wave / 3))[..., None]
    drawn = Image.fromarray((image * light).clip(0, 255).astype(np.uint8).transpose(1, 0, 2))
    if rng.random() < 0.6:
        disc(ImageDraw.Draw(drawn), w * rng.uniform(0.3, 0.7), h / 2, h * rng.uniform(0.1, 0.25), shade(any_colour(rng), 1.1))
    return drawn
