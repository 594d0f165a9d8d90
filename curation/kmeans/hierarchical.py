"""Clusters of clusters: k-means on rows, then on the centroids of that, and so on; and resampling, which evens them out.

Source: Vo et al. 2024 (automatic data curation for self-supervised learning), section 3 and appendix. Plain k-means puts
centroids where rows are dense. Fitted anew, several times, on the few rows nearest each centroid, it puts them evenly over
all that there is. Differs: products are float32, sums float64; passes end where they gain little (lloyd.py); levels too
large for greedy k-means++ are seeded in rounds (seeding.py).

Letters: N rows, D dimensions, K clusters of a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.kmeans.assign import assign
from curation.kmeans.greedy import greedy_plus_plus
from curation.kmeans.lloyd import fit, squares

GREEDY = 1 << 32  # rows x clusters up to which the first centroids are picked greedily

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LevelPlan:
    """How a level is made."""

    k: int
    """Clusters."""
    rounds: int = 0
    """Times that the level is fitted anew on rows nearest its centroids; 0: no resampling."""
    nearest: int = 1
    """Rows taken of each cluster for that; about half of what a cluster holds. 1: no resampling."""

    def __post_init__(self) -> None:
        if min(self.k, self.nearest) < 1 or self.rounds < 0:
            raise ValueError(f"a level has 1 cluster or more, nearest of 1 or more, 0 rounds or more: {self}")


@dataclass(frozen=True)
class Level:
    """centroids (K, D); labels: the cluster of each row, or of each centroid of the level below; sizes (K,) of them."""

    centroids: Floats
    labels: Ints
    sizes: Ints


def level_plans(rows: int, levels: Sequence[int], rounds: int) -> list[LevelPlan]:
    """Levels of so many clusters, the finest first, each resampled on half of what its clusters hold on average.

    Source: facebookresearch/ssl-data-curation, configs/*.yaml: 10 rounds; 20 rows a cluster: 10, 10: 5, 5: 3, 3.3: 2.
    """
    held = zip([rows, *levels], levels, strict=False)
    return [LevelPlan(k=k, rounds=rounds, nearest=max(1, -(-below // (2 * k)))) for below, k in held]


def fit_levels(x: Floats, plans: Sequence[LevelPlan], iterations: int = 50, seed: int = 0) -> list[Level]:
    """Levels, the finest first, of the rows x (N, D), by Euclidean distance. No cluster is empty.

    Raises ValueError if a level has more clusters than there are rows, or than the level below.
    """
    levels, points = list[Level](), x
    for number, plan in enumerate(plans):
        if plan.k > len(points):
            raise ValueError(f"level {number + 1}: {plan.k} clusters asked of {len(points)} points")
        level = _fit_level(points, plan, iterations, seed + number)
        levels.append(level)
        points = level.centroids
    return levels


def _fit_level(points: Floats, plan: LevelPlan, iterations: int, seed: int) -> Level:
    level = filled(points, _fit(points, plan.k, iterations, seed))
    for turn in range(plan.rounds if plan.nearest > 1 else 0):
        rows = nearest_rows(points, level, plan.nearest)
        centroids = _fit(points[rows], min(plan.k, len(rows)), iterations, seed + 1000 * (turn + 1))
        level = filled(points, centroids)
    return level


def _fit(points: Floats, k: int, iterations: int, seed: int) -> Floats:
    start = greedy_plus_plus(points, k, np.random.default_rng(seed)) if len(points) * k <= GREEDY else None
    return fit(points, k, iterations, seed, euclidean=True, start=start).centroids


def filled(points: Floats, centroids: Floats) -> Level:
    """Each point to its nearest centroid; centroids without any are left out."""
    labels, _ = assign(points, centroids, euclidean=True)
    kept, labels, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return Level(centroids[kept], labels.astype(np.int64), sizes.astype(np.int64))


def nearest_rows(points: Floats, level: Level, count: int) -> Ints:
    """The `count` points nearest the centroid of each cluster, or all it has: row numbers, ascending."""
    gaps = np.empty(len(points), np.float32)
    for at in range(0, len(points), 8192):
        block = slice(at, at + 8192)
        gaps[block] = squares(points[block] - level.centroids[level.labels[block]])
    order = np.lexsort((gaps, level.labels))
    starts = np.cumsum(level.sizes) - level.sizes
    place = np.arange(len(points)) - np.repeat(starts, level.sizes)
    return np.sort(order[place < count]).astype(np.int64)
