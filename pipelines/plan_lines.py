"""From a few measured sizes to a large one: a line, and how far off it may be."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

Point = tuple[float, float]  # images, and seconds or bytes
LEAST_DOUBT = 0.1  # of any prediction


@dataclass(frozen=True)
class Line:
    """constant + slope x images ** power; `slopes`: those that two of the sizes alone would give."""

    constant: float
    slope: float
    power: float
    slopes: tuple[float, ...]

    def at(self, images: float) -> tuple[float, float, float]:
        """(expected, low, high) for so many images."""
        grown = images**self.power
        middle = self.constant + self.slope * grown
        low = min([middle * (1 - LEAST_DOUBT), *(self.constant + s * grown for s in self.slopes)])
        high = max([middle * (1 + LEAST_DOUBT), *(self.constant + s * grown for s in self.slopes)])
        return middle, max(0.0, low), high


def line(points: list[Point], power: float) -> Line:
    """The line of least squares that neither falls nor starts below nothing; noise of short runs would have it do both."""
    x = np.array([images**power for images, _ in points])
    y = np.array([value for _, value in points])
    if len(points) < 2 or x.min() == x.max():
        return Line(float(y.mean()), 0.0, power, ())
    slope = float(max(0.0, np.polyfit(x, y, 1)[0]))
    constant = float(y.mean() - slope * x.mean())
    if constant < 0:
        constant, slope = 0.0, float((x * y).sum() / (x * x).sum())
    pairs = ((y[b] - y[a]) / (x[b] - x[a]) for a, b in combinations(range(len(x)), 2))
    return Line(constant, slope, power, tuple(float(max(0.0, s)) for s in pairs))
