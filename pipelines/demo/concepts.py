"""The visual concepts of the demo's world, and one picture of any of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from pipelines.demo import figures, patterns, scenes
from pipelines.demo.brush import Rng

Painter = Callable[[Rng, tuple[int, int]], Image.Image]

CONCEPTS: dict[str, Painter] = {
    painter.__name__: painter
    for painter in (
        scenes.landscape, scenes.night_city, scenes.sea, scenes.forest, scenes.desert, scenes.animal, scenes.fish_tank,
        scenes.planets, scenes.flowers, scenes.clock, scenes.dice,
        patterns.brick, patterns.wood, patterns.marble, patterns.leopard, patterns.tartan, patterns.bubbles,
        patterns.stained_glass, patterns.mandelbrot, patterns.julia, patterns.bare_tree, patterns.sierpinski,
        patterns.snowflake, patterns.circuit,
        figures.bar_chart, figures.line_chart, figures.scatter, figures.pie_chart, figures.document, figures.terminal,
        figures.road_sign, figures.street_map, figures.flag,
    )
}  # fmt: skip
"""Concept -> what draws it."""


def draw(concept: str, seed: int) -> Image.Image:
    """Picture number `seed` of a concept: RGB, sides of 180 to 320 px. Equal arguments, equal pixels."""
    rng = np.random.default_rng([seed, zlib.crc32(concept.encode())])
    size = int(rng.integers(200, 321)), int(rng.integers(180, 281))
    return CONCEPTS[concept](rng, size).convert("RGB")
