"""Composed scenes: places, creatures and things. Each function draws one picture of its concept."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw

from pipelines.demo.brush import Rng, any_colour, canvas, disc, gradient, hsv, land, near, noise, ridge, shade, tint

Size = tuple[int, int]


def landscape(rng: Rng, size: Size) -> Image.Image:
    """Green hills and houses under a bright sky."""
    w, h = size
    image = gradient(size, near(rng, 0.57, 0.05, (0.3, 0.7), (0.8, 1)), near(rng, 0.55, 0.05, (0.05, 0.3), (0.9, 1)))
    draw = ImageDraw.Draw(image)
    disc(draw, rng.uniform(0, w), rng.uniform(0, h * 0.3), h * rng.uniform(0.05, 0.12), hsv(0.14, 0.6, 1))
    for level in range(int(rng.integers(2, 5))):
        line = ridge(rng, w, h * (0.45 + 0.15 * level), h * rng.uniform(0.05, 0.15))
        land(draw, line, size, near(rng, 0.3, 0.06, (0.5, 0.8), (0.35, 0.75)))
    for _ in range(int(rng.integers(1, 6))):
        _house(draw, rng, rng.uniform(0, w), h * rng.uniform(0.6, 0.95), h * rng.uniform(0.08, 0.22))
    return image


def _house(draw: ImageDraw.ImageDraw, rng: Rng, x: float, y: float, s: float) -> None:
    draw.rectangle((x, y - s, x + 1.3 * s, y), fill=any_colour(rng, (0.05, 0.5), (0.7, 1)))
    draw.polygon([(x - 0.15 * s, y - s), (x + 0.65 * s, y - 1.7 * s), (x + 1.45 * s, y - s)], fill=near(rng, 0.02, 0.03))
    draw.rectangle((x + 0.5 * s, y - 0.55 * s, x + 0.8 * s, y), fill=(70, 45, 30))


def night_city(rng: Rng, size: Size) -> Image.Image:
    """Dark towers with lit windows."""
    w, h = size
    image = gradient(size, (5, 5, 20), near(rng, 0.7, 0.1, (0.4, 0.8), (0.15, 0.45)))
    draw = ImageDraw.Draw(image)
    x = -rng.uniform(0, 20)
    while x < w:
        width, top = rng.uniform(0.08, 0.2) * w, h * rng.uniform(0.1, 0.75)
        draw.rectangle((x, top, x + width, h), fill=near(rng, 0.65, 0.1, (0.2, 0.5), (0.05, 0.25)))
        step = rng.uniform(6, 12)
        for wy in range(int(top + 4), h, int(step)):
            for wx in range(int(x + 3), int(x + width - 4), int(step)):
                if rng.random() < 0.45:
                    draw.rectangle((wx, wy, wx + step / 2, wy + step / 2), fill=near(rng, 0.13, 0.03, (0.3, 0.7), (0.8, 1)))
        x += width + rng.uniform(-2, 8)
    return image


def sea(rng: Rng, size: Size) -> Image.Image:
    """Boats on waves."""
    w, h = size
    horizon = h * rng.uniform(0.25, 0.55)
    image = gradient(size, near(rng, rng.choice([0.55, 0.08, 0.95]), 0.03, (0.2, 0.5), (0.8, 1)), (250, 240, 225))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, horizon, w, h), fill=near(rng, 0.56, 0.05, (0.6, 0.9), (0.4, 0.7)))
    for _ in range(40):
        x, y, r = rng.uniform(0, w), rng.uniform(horizon, h), rng.uniform(5, 20)
        draw.arc((x - r, y - r / 3, x + r, y + r / 3), 200, 340, fill=(200, 225, 240), width=2)
    for _ in range(int(rng.integers(1, 5))):
        x, y, s = rng.uniform(0, w), rng.uniform(horizon, h * 0.95), h * rng.uniform(0.06, 0.2)
        draw.polygon(
            [(x - s, y - s / 3), (x + s, y - s / 3), (x + s * 0.6, y), (x - s * 0.6, y)],
            fill=near(rng, 0.03, 0.05, (0.6, 0.9), (0.3, 0.6)),
        )
        draw.polygon(
            [(x, y - s / 3), (x, y - 2 * s), (x + s * rng.choice([-0.9, 0.9]), y - s / 2)],
            fill=any_colour(rng, (0, 0.4), (0.85, 1)),
        )
    return image


def forest(rng: Rng, size: Size) -> Image.Image:
    """Rows of firs in mist."""
    w, h = size
    image = gradient(size, near(rng, 0.5, 0.1, (0.05, 0.2), (0.75, 0.95)), near(rng, 0.35, 0.05, (0.2, 0.4), (0.5, 0.8)))
    draw = ImageDraw.Draw(image)
    for row in range(4):
        colour = near(rng, 0.38, 0.04, (0.4, 0.8), (0.5 - 0.11 * row, 0.6 - 0.11 * row))
        for _ in range(int(rng.integers(5, 12))):
            x, y, s = rng.uniform(-10, w + 10), h * (0.55 + 0.15 * row + rng.uniform(-0.05, 0.05)), h * rng.uniform(0.2, 0.5)
            for k in range(3):
                draw.polygon(
                    [
                        (x, y - s + k * s / 4),
                        (x - s * (0.1 + 0.06 * k), y - s / 3 + k * s / 6),
                        (x + s * (0.1 + 0.06 * k), y - s / 3 + k * s / 6),
                    ],
                    fill=colour,
                )
    return image


def desert(rng: Rng, size: Size) -> Image.Image:
    """Dunes and cacti in the heat."""
    w, h = size
    image = gradient(size, near(rng, 0.07, 0.04, (0.4, 0.8), (0.85, 1)), near(rng, 0.13, 0.02, (0.3, 0.5), (0.95, 1)))
    draw = ImageDraw.Draw(image)
    for level in range(3):
        land(draw, ridge(rng, w, h * (0.5 + 0.17 * level), h * 0.08, 2), size, near(rng, 0.09, 0.02, (0.5, 0.8), (0.6, 0.9)))
    for _ in range(int(rng.integers(2, 6))):
        x, y, s = rng.uniform(0, w), h * rng.uniform(0.65, 0.98), h * rng.uniform(0.12, 0.35)
        green, t = near(rng, 0.33, 0.05, (0.5, 0.8), (0.3, 0.55)), max(3, int(s / 6))
        draw.line([(x, y), (x, y - s)], fill=green, width=t)
        for side in (-1, 1):
            draw.line(
                [(x, y - s * 0.4), (x + side * s / 3, y - s * 0.4), (x + side * s / 3, y - s * rng.uniform(0.6, 0.9))],
                fill=green,
                width=t,
            )
    return image


def animal(rng: Rng, size: Size) -> Image.Image:
    """The faces of one to four cartoon animals."""
    image = tint(noise(rng, size, int(rng.integers(2, 6))), [any_colour(rng, (0.2, 0.7), (0.4, 1)) for _ in range(3)])
    draw, many = ImageDraw.Draw(image), int(rng.integers(1, 5))
    for _ in range(many):
        _face(
            draw,
            rng,
            rng.uniform(0.15, 0.85) * size[0],
            rng.uniform(0.2, 0.85) * size[1],
            min(size) * rng.uniform(0.14, 0.4) / many**0.3,
        )
    return image


def _face(draw: ImageDraw.ImageDraw, rng: Rng, x: float, y: float, r: float) -> None:
    fur = near(rng, rng.choice([0.07, 0.1, 0.0, 0.6]), 0.03, (0.1, 0.7), (0.4, 0.9))
    for side in (-1, 1):
        if rng.random() < 0.5:
            disc(draw, x + side * r * 0.75, y - r * 0.8, r * rng.uniform(0.3, 0.5), shade(fur, 0.8))
        else:
            tip = (x + side * r * 0.8, y - r * rng.uniform(1.3, 1.8))
            draw.polygon([(x + side * r * 0.3, y - r * 0.7), (x + side * r, y - r * 0.4), tip], fill=shade(fur, 0.8))
    disc(draw, x, y, r, fur)
    for side in (-1, 1):
        disc(draw, x + side * r * 0.38, y - r * 0.15, r * 0.2, (255, 255, 255))
        disc(draw, x + side * r * 0.38 + r * rng.uniform(-0.08, 0.08), y - r * 0.15, r * 0.1, (20, 20, 20))
    disc(draw, x, y + r * 0.3, r * 0.14, (60, 30, 40))
    draw.arc((x - r * 0.4, y + r * 0.2, x + r * 0.4, y + r * 0.7), 20, 160, fill=(60, 30, 40), width=3)


def fish_tank(rng: Rng, size: Size) -> Image.Image:
    """Fish, bubbles and weed in blue water."""
    w, h = size
    image = gradient(size, near(rng, 0.53, 0.03, (0.4, 0.7), (0.7, 0.95)), near(rng, 0.6, 0.03, (0.7, 0.95), (0.25, 0.5)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 9))):
        x = rng.uniform(0, w)
        line = [(x + 8 * math.sin(k * 0.9 + x), h - k * h * rng.uniform(0.04, 0.06)) for k in range(10)]
        draw.line(line, fill=near(rng, 0.35, 0.05, (0.6, 0.9), (0.3, 0.6)), width=6)
    for _ in range(int(rng.integers(3, 10))):
        x, y, s, d = rng.uniform(0, w), rng.uniform(0.1, 0.85) * h, h * rng.uniform(0.05, 0.14), rng.choice([-1, 1])
        colour = near(rng, rng.choice([0.03, 0.1, 0.14, 0.9]), 0.03, (0.7, 1), (0.8, 1))
        draw.polygon([(x + d * s, y), (x + d * 2 * s, y - s * 0.7), (x + d * 2 * s, y + s * 0.7)], fill=shade(colour, 0.8))
        draw.ellipse((x - 1.3 * s, y - s * 0.7, x + 1.3 * s, y + s * 0.7), fill=colour)
        disc(draw, x - d * 0.7 * s, y - s * 0.15, s * 0.15, (10, 10, 10))
    for _ in range(25):
        disc(draw, rng.uniform(0, w), rng.uniform(0, h), rng.uniform(2, 6), (190, 225, 245), (235, 245, 255))
    return image


def planets(rng: Rng, size: Size) -> Image.Image:
    """Striped planets and stars on black."""
    w, h = size
    image, draw = canvas(size, near(rng, 0.7, 0.1, (0.3, 0.9), (0.02, 0.12)))
    for _ in range(150):
        disc(draw, rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.4, 1.6), (230, 230, 255))
    for _ in range(int(rng.integers(1, 4))):
        r = min(size) * rng.uniform(0.1, 0.35)
        bands = tint(noise(rng, (1, max(8, int(2 * r))), 5, 2), [any_colour(rng), any_colour(rng), any_colour(rng)])
        ball = bands.resize((int(2 * r), int(2 * r))).rotate(rng.uniform(-40, 40))
        mask = Image.new("L", ball.size, 0)
        ImageDraw.Draw(mask).ellipse((1, 1, ball.width - 2, ball.height - 2), fill=255)
        image.paste(ball, (int(rng.uniform(0, w) - r), int(rng.uniform(0, h) - r)), mask)
    return image


def flowers(rng: Rng, size: Size) -> Image.Image:
    """Large blossoms on leaf green."""
    w, h = size
    image = tint(
        noise(rng, size, 5), [near(rng, 0.33, 0.03, (0.6, 0.9), (0.2, 0.35)), near(rng, 0.28, 0.03, (0.5, 0.8), (0.5, 0.7))]
    )
    draw = ImageDraw.Draw(image)
    hue, petals = rng.choice([0.95, 0.0, 0.12, 0.8, 0.88]), int(rng.integers(5, 10))
    for _ in range(int(rng.integers(3, 10))):
        x, y, r, turn = rng.uniform(0, w), rng.uniform(0, h), min(size) * rng.uniform(0.06, 0.17), rng.random()
        colour = near(rng, hue, 0.03, (0.5, 0.9), (0.8, 1))
        for k in range(petals):
            a = 6.283 * (k / petals + turn)
            disc(draw, x + r * math.cos(a), y + r * math.sin(a), r * 0.62, colour, shade(colour, 0.8))
        disc(draw, x, y, r * 0.5, near(rng, 0.13, 0.02, (0.8, 1), (0.8, 1)))
    return image


def clock(rng: Rng, size: Size) -> Image.Image:
    """A round clock on a wall."""
    w, h = size
    image, draw = canvas(size, any_colour(rng, (0.1, 0.6), (0.3, 0.8)))
    x, y, r = w * rng.uniform(0.4, 0.6), h * rng.uniform(0.4, 0.6), min(size) * rng.uniform(0.3, 0.46)
    disc(
        draw,
        x,
        y,
        r,
        any_colour(rng, (0, 0.15), (0.88, 1)),
        any_colour(rng, (0.2, 0.9), (0.1, 0.5)),
        int(r * rng.uniform(0.06, 0.16)),
    )
    for k in range(12):
        a, near_rim = 6.283 * k / 12, rng.uniform(0.72, 0.76)
        draw.line(
            [
                (x + r * near_rim * math.cos(a), y + r * near_rim * math.sin(a)),
                (x + r * 0.84 * math.cos(a), y + r * 0.84 * math.sin(a)),
            ],
            fill=(20, 20, 20),
            width=4,
        )
    for length, thick in ((0.45, 7), (0.68, 4)):
        a = rng.uniform(0, 6.283)
        draw.line([(x, y), (x + r * length * math.cos(a), y + r * length * math.sin(a))], fill=(20, 20, 30), width=thick)
    return image


def dice(rng: Rng, size: Size) -> Image.Image:
    """Dice on a table."""
    w, h = size
    image, _ = canvas(size, near(rng, rng.choice([0.38, 0.0, 0.62]), 0.03, (0.6, 0.9), (0.25, 0.5)))
    body = any_colour(rng, (0, 0.9), (0.85, 1)) if rng.random() < 0.3 else (245, 243, 238)
    for _ in range(int(rng.integers(2, 7))):
        s = min(size) * rng.uniform(0.16, 0.34)
        die = Image.new("RGBA", (int(s), int(s)), (0, 0, 0, 0))
        pen = ImageDraw.Draw(die)
        pen.rounded_rectangle((0, 0, s - 1, s - 1), s * 0.18, fill=body, outline=(90, 90, 90))
        spots = rng.permutation([(a, b) for a in (0.25, 0.5, 0.75) for b in (0.25, 0.5, 0.75)])[: int(rng.integers(1, 7))]
        for a, b in spots:
            disc(pen, a * s, b * s, s * 0.085, (25, 25, 30))
        die = die.rotate(rng.uniform(0, 90), expand=True)
        image.paste(die, (int(rng.uniform(0, w * 0.75)), int(rng.uniform(0, h * 0.75))), die)
    return image
