"""Textures and fractals. Each function draws one picture of its concept."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from pipelines.demo.brush import Rng, any_colour, canvas, disc, grid, hsv, near, noise, shade, tint

Size = tuple[int, int]


def brick(rng: Rng, size: Size) -> Image.Image:
    """A wall of bricks, weathered, seen from near or far and not quite straight."""
    image, draw = canvas((size[0] + 80, size[1] + 80), any_colour(rng, (0, 0.1), (0.6, 0.9)))
    tall, gap, hue = size[1] / rng.uniform(3, 11), rng.uniform(2, 5), rng.choice([0.02, 0.05, 0.08])
    wide, base, phase = tall * rng.uniform(1.4, 3.4), rng.uniform(0.4, 0.75), rng.random()
    for row in range(-1, int(image.height / tall) + 2):
        for column in range(-2, int(image.width / wide) + 2):
            x, y = (column + phase + 0.5 * (row % 2)) * wide, (row + phase) * tall
            colour = near(rng, hue, 0.02, (0.45, 0.7), (base - 0.2, base + 0.2))
            draw.rectangle((x, y, x + wide - gap, y + tall - gap), fill=colour)
    image = image.rotate(rng.uniform(-8, 8), Image.Resampling.BILINEAR).crop((40, 40, size[0] + 40, size[1] + 40))
    light = (0.45 + 0.75 * noise(rng, size, int(rng.integers(2, 5)), 3))[..., None]
    return Image.fromarray((np.asarray(image) * light).clip(0, 255).astype(np.uint8))


def wood(rng: Rng, size: Size) -> Image.Image:
    """Wooden boards with grain."""
    x, y = grid(size)
    boards, upright = int(rng.integers(2, 7)), rng.random() < 0.5
    along, across, extent = (y, x, size[0]) if upright else (x, y, size[1])
    board = np.floor(across / extent * boards)
    warp = noise(rng, size, 3, 2) * rng.uniform(20, 60)
    grain = 0.5 + 0.5 * np.sin((across + warp + board * 37) / rng.uniform(2.5, 7) + np.sin(along / rng.uniform(20, 70) + board))
    values = np.clip(0.6 * grain + 0.4 * ((board * rng.uniform(0.2, 0.8)) % 1), 0, 1)
    values[(across % (extent / boards)) < 2] = 0
    hue = rng.uniform(0.055, 0.1)
    return tint(values.astype(np.float32), [hsv(hue, 0.75, 0.25), hsv(hue, 0.6, 0.55), hsv(hue + 0.02, 0.45, 0.85)])


def marble(rng: Rng, size: Size) -> Image.Image:
    """Veined stone."""
    x, y = grid(size)
    angle, scale = rng.uniform(0, 3.14), rng.uniform(0.02, 0.06)
    bend = noise(rng, size, int(rng.integers(2, 5)), 4) * rng.uniform(4, 9)
    veins = np.abs(np.sin((x * math.cos(angle) + y * math.sin(angle)) * scale + bend)) ** rng.uniform(0.25, 0.6)
    hue = rng.random()
    dark, light = hsv(hue, rng.uniform(0, 0.3), rng.uniform(0.2, 0.5)), hsv(hue, rng.uniform(0, 0.12), rng.uniform(0.85, 1))
    return tint(veins.astype(np.float32), [dark, light, light])


def leopard(rng: Rng, size: Size) -> Image.Image:
    """Spotted fur."""
    ground = tint(
        noise(rng, size, 4), [near(rng, 0.1, 0.02, (0.5, 0.7), (0.65, 0.8)), near(rng, 0.11, 0.02, (0.3, 0.5), (0.85, 0.98))]
    )
    draw, step = ImageDraw.Draw(ground), min(size) / rng.uniform(6, 12)
    for gy in np.arange(0, size[1] + step, step):
        for gx in np.arange(0, size[0] + step, step):
            x, y, r = gx + rng.uniform(-0.35, 0.35) * step, gy + rng.uniform(-0.35, 0.35) * step, step * rng.uniform(0.25, 0.42)
            disc(draw, x, y, r * 0.6, (140, 85, 35))
            for k in range(5):
                a = 1.256 * k + rng.uniform(-0.4, 0.4)
                disc(draw, x + r * math.cos(a), y + r * math.sin(a), r * rng.uniform(0.2, 0.42), (35, 22, 12))
    return ground


def tartan(rng: Rng, size: Size) -> Image.Image:
    """Woven cloth in folds."""
    sett = rng.uniform(60, 200)
    base = np.array(any_colour(rng, (0.6, 0.95), (0.25, 0.7)), float)
    lines = [
        (rng.random() * sett, rng.uniform(0.04, 0.3) * sett, np.array(any_colour(rng, (0.3, 1), (0.2, 1)), float))
        for _ in range(rng.integers(3, 8))
    ]
    x, y = grid(size)
    fold = noise(rng, size, int(rng.integers(2, 4)), 2)
    turn, x, y = rng.uniform(-0.5, 0.5), x + 45 * fold, y + 30 * noise(rng, size, 2, 2)
    x, y = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
    weave = ((x.astype(int) + y.astype(int)) % 4 < 2)[..., None]
    warp, weft = (_stripes(axis, sett, base, lines) for axis in (x, y))
    cloth = np.where(weave, 0.65 * warp + 0.35 * weft, 0.35 * warp + 0.65 * weft) * (0.5 + 0.8 * fold)[..., None]
    return Image.fromarray(cloth.clip(0, 255).astype(np.uint8))


def _stripes(axis: np.ndarray, sett: float, base: np.ndarray, lines: list[tuple[float, float, np.ndarray]]) -> np.ndarray:
    out = np.broadcast_to(base, (*axis.shape, 3)).copy()
    for start, width, colour in lines:
        out[((axis - start) % sett) < width] = colour
    return out


def bubbles(rng: Rng, size: Size) -> Image.Image:
    """Soft discs of light."""
    image = tint(noise(rng, size, 2, 1), [any_colour(rng, (0.5, 0.9), (0.1, 0.45)), any_colour(rng, (0.4, 0.9), (0.3, 0.7))])
    for _ in range(int(rng.integers(8, 26))):
        layer, r = Image.new("RGBA", size, (0, 0, 0, 0)), min(size) * rng.uniform(0.05, 0.22)
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        colour = (*any_colour(rng, (0.1, 0.7), (0.85, 1)), int(rng.uniform(50, 130)))
        ImageDraw.Draw(layer).ellipse((x - r, y - r, x + r, y + r), fill=colour, outline=(255, 255, 255, 150), width=2)
        image.paste(layer, (0, 0), layer)
    return image


def stained_glass(rng: Rng, size: Size) -> Image.Image:
    """Bright cells between lead lines."""
    cells = int(rng.integers(14, 45))
    points = rng.random((cells, 2)) * size
    x, y = grid(size)
    distance = np.hypot(x[..., None] - points[:, 0], y[..., None] - points[:, 1])
    order = np.partition(distance, 1, axis=-1)
    colours = np.array([any_colour(rng, (0.75, 1), (0.6, 1)) for _ in range(cells)], np.uint8)
    image = colours[distance.argmin(-1)]
    image[order[..., 1] - order[..., 0] < rng.uniform(3, 6)] = (20, 20, 24)
    return Image.fromarray(image)


def mandelbrot(rng: Rng, size: Size) -> Image.Image:
    """The rim of the Mandelbrot set."""
    spots = [(-0.75, 0.1), (-0.1, 0.95), (-1.25, 0.05), (0.28, 0.01), (-0.55, 0.6), (-1.75, 0.0)]
    cx, cy = spots[rng.integers(len(spots))]
    return _escape(rng, size, complex(cx + rng.normal(0, 0.03), cy + rng.normal(0, 0.03)), 10 ** rng.uniform(-1.4, -0.2), None)


def julia(rng: Rng, size: Size) -> Image.Image:
    """A Julia set, whole."""
    seeds = [-0.8 + 0.156j, -0.4 + 0.6j, 0.285 + 0.01j, -0.7269 + 0.1889j, -0.123 + 0.745j, -0.75 + 0.11j, 0.355 + 0.355j]
    c = seeds[rng.integers(len(seeds))] + complex(rng.normal(0, 0.02), rng.normal(0, 0.02))
    wide = _escape(rng, (size[0] * 2, size[1] * 2), complex(*rng.uniform(-0.4, 0.4, 2)), rng.uniform(1.1, 2.2), c)
    x, y = size[0] // 2, size[1] // 2
    return wide.rotate(rng.uniform(0, 360)).crop((x, y, x + size[0], y + size[1]))


def _escape(rng: Rng, size: Size, centre: complex, radius: float, c: complex | None) -> Image.Image:
    w, h = (max(2, s // 2) for s in size)
    x, y = np.meshgrid(np.linspace(-radius * w / h, radius * w / h, w), np.linspace(-radius, radius, h))
    z, counts = (x + 1j * y) + centre, np.zeros((h, w), np.float32)
    k = z.copy() if c is None else np.full_like(z, c)
    for _ in range(48):
        inside = np.abs(z) < 4
        z = np.where(inside, z * z + k, z)
        counts += inside
    hue = rng.random()
    palette = [hsv(hue, 0.9, 0.15), hsv(hue + 0.1, 0.8, 0.8), hsv(hue + 0.2, 0.3, 1), hsv(hue + 0.45, 0.9, 0.7), (8, 6, 12)]
    return tint((counts / 48) ** 0.6, palette).resize(size, Image.Resampling.BILINEAR)


def bare_tree(rng: Rng, size: Size) -> Image.Image:
    """A branching tree without leaves."""
    image, draw = canvas(size, any_colour(rng, (0.05, 0.5), (0.75, 1)))
    spread, bark = rng.uniform(0.3, 0.7), near(rng, 0.06, 0.03, (0.3, 0.7), (0.1, 0.35))
    _branch(
        draw,
        rng,
        size[0] * rng.uniform(0.3, 0.7),
        size[1],
        -1.57 + rng.uniform(-0.15, 0.15),
        size[1] * rng.uniform(0.2, 0.3),
        9,
        spread,
        bark,
    )
    return image


def _branch(
    draw: ImageDraw.ImageDraw,
    rng: Rng,
    x: float,
    y: float,
    a: float,
    length: float,
    level: int,
    spread: float,
    bark: tuple[int, int, int],
) -> None:
    x2, y2 = x + length * math.cos(a), y + length * math.sin(a)
    draw.line([(x, y), (x2, y2)], fill=bark, width=max(1, level))
    for side in (-1, 1) if level > 1 else ():
        turn = side * spread * rng.uniform(0.6, 1.4)
        _branch(
            draw, rng, x2, y2, a + turn, length * rng.uniform(0.68, 0.84), level - 1 if level < 7 else level - 2, spread, bark
        )


def sierpinski(rng: Rng, size: Size) -> Image.Image:
    """Triangles within triangles."""
    image, draw = canvas(size, any_colour(rng, (0.3, 0.9), (0.08, 0.35)))
    hue, corners = (
        rng.random(),
        [
            (rng.uniform(0, 0.3), rng.uniform(0.7, 1)),
            (rng.uniform(0.7, 1), rng.uniform(0.7, 1)),
            (rng.uniform(0.3, 0.7), rng.uniform(0, 0.3)),
        ],
    )
    turn = rng.integers(4)
    points = (
        [(p[0] * size[0], p[1] * size[1]) for p in corners]
        if turn % 2
        else [(p[0] * size[0], (1 - p[1]) * size[1]) for p in corners]
    )
    triangles = [points]
    for level in range(int(rng.integers(4, 6))):
        triangles = [t for one in triangles for t in _three(one)]
        del level
    for triangle in triangles:
        draw.polygon(triangle, fill=near(rng, hue, 0.06, (0.5, 0.95), (0.7, 1)))
    return image


def _three(t: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    mid = [((t[i][0] + t[j][0]) / 2, (t[i][1] + t[j][1]) / 2) for i, j in ((0, 1), (1, 2), (2, 0))]
    return [[t[0], mid[0], mid[2]], [mid[0], t[1], mid[1]], [mid[2], mid[1], t[2]]]


def snowflake(rng: Rng, size: Size) -> Image.Image:
    """Six-armed crystals on blue."""
    image, draw = canvas(size, near(rng, 0.6, 0.06, (0.4, 0.95), (0.25, 0.75)))
    for _ in range(int(rng.integers(1, 7))):
        x, y, r = rng.uniform(0.1, 0.9) * size[0], rng.uniform(0.1, 0.9) * size[1], min(size) * rng.uniform(0.12, 0.4)
        twigs, turn = [(rng.uniform(0.25, 0.9), rng.uniform(0.1, 0.3)) for _ in range(int(rng.integers(2, 5)))], rng.random()
        for k in range(6):
            a = 1.0472 * k + turn
            draw.line([(x, y), (x + r * math.cos(a), y + r * math.sin(a))], fill=(240, 248, 255), width=3)
            for at, length in twigs:
                bx, by = x + at * r * math.cos(a), y + at * r * math.sin(a)
                for side in (-1, 1):
                    b = a + side * 1.0472
                    draw.line(
                        [(bx, by), (bx + r * length * math.cos(b), by + r * length * math.sin(b))],
                        fill=(240, 248, 255),
                        width=2,
                    )
    return image


def circuit(rng: Rng, size: Size) -> Image.Image:
    """Copper tracks and chips on a board."""
    ground = near(rng, rng.choice([0.38, 0.4, 0.6]), 0.03, (0.6, 0.95), (0.18, 0.4))
    image, draw = canvas(size, ground)
    step, copper = int(rng.integers(8, 15)), near(rng, 0.12, 0.03, (0.4, 0.8), (0.6, 0.9))
    for _ in range(int(rng.integers(25, 60))):
        x, y = (int(rng.integers(0, s // step)) * step for s in size)
        path = [(x, y)]
        for dx, dy in ((1, 0), (1, 1), (0, 1)):
            length = int(rng.integers(0, 7)) * step * rng.choice([-1, 1])
            x, y = x + dx * length, y + dy * length
            path.append((x, y))
        draw.line(path, fill=copper, width=2)
        disc(draw, *path[0], 3, shade(copper, 1.2))
        disc(draw, *path[-1], 3, shade(copper, 1.2))
    for _ in range(int(rng.integers(1, 6))):
        x, y, a, b = rng.uniform(0, size[0] * 0.8), rng.uniform(0, size[1] * 0.8), rng.uniform(25, 80), rng.uniform(20, 60)
        for pin in np.arange(x + 3, x + a - 2, 7):
            draw.rectangle((pin, y - 5, pin + 3, y + b + 5), fill=(200, 200, 205))
        draw.rectangle((x, y, x + a, y + b), fill=(25, 25, 28))
    return image
