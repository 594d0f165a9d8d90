"""From a few measured sizes to a large one: a line, and how far off it may be."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

Point = tuple[float, float]  # how much of what a noun's cost follows, and seconds or bytes
Interval = tuple[float, float, float]  # expected, low, high
LEAST_DOUBT = 0.1  # of any prediction


@dataclass(frozen=True)
class Line:
    """constant + slope x much; `slopes`: those that two of the sizes alone would give."""

    constant: float
    slope: float
    slopes: tuple[float, ...]

    def at(self, much: float) -> Interval:
        """(expected, low, high) there."""
        middle = self.constant + self.slope * much
        low = min([middle * (1 - LEAST_DOUBT), *(self.constant + s * much for s in self.slopes)])
        high = max([middle * (1 + LEAST_DOUBT), *(self.constant + s * much for s in self.slopes)])
        return middle, max(0.0, low), high


def line(points: list[Point]) -> Line:
    """The line of least squares that neither falls nor starts below nothing; noise of short runs would have it do both."""
    x, y = np.array(points, float).T
    if x.min() == x.max():
        return Line(float(y.mean()), 0.0, ())
    slope = float(max(0.0, np.polyfit(x, y, 1)[0]))
    constant = float(y.mean() - slope * x.mean())
    if constant < 0:
        constant, slope = 0.0, float((x * y).sum() / (x * x).sum())
    pairs = ((y[b] - y[a]) / (x[b] - x[a]) for a, b in combinations(range(len(x)), 2) if x[b] != x[a])
    return Line(constant, slope, tuple(float(max(0.0, s)) for s in pairs))


def added(parts: list[Interval]) -> Interval:
    """Sums; the interval adds as if all erred the same way."""
    return sum(p[0] for p in parts), sum(p[1] for p in parts), sum(p[2] for p in parts)
