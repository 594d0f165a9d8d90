"""Spherical k-means on arrays: k-means++ seeding, Lloyd iterations, empty clusters re-seeded.

Distances are cosine: rows and centroids have unit length, and a row belongs to the centroid of largest product.
Sums are kept in float64, so the result does not depend on the size of the blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

BLOCK = 8192  # rows of one product

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Fit:
    """centroids (K, D) float32, unit rows; sizes (K,) rows of the last pass; objective: mean cosine, one per pass."""

    centroids: Floats
    sizes: Ints
    objective: list[float]


def assign(x: Floats, centroids: Floats) -> tuple[Ints, Floats]:
    """Nearest centroid of each row of x (N, D), and the cosine to it. Ties go to the lower number."""
    labels, best = np.empty(len(x), np.int64), np.empty(len(x), np.float32)
    c = torch.from_numpy(np.ascontiguousarray(centroids)).T
    for start in range(0, len(x), BLOCK):
        values, indices = (torch.from_numpy(x[start : start + BLOCK]) @ c).max(dim=1)
        labels[start : start + BLOCK], best[start : start + BLOCK] = indices.numpy(), values.numpy()
    return labels, best


def fit(x: Floats, k: int, iterations: int, seed: int, tolerance: float = 1e-4) -> Fit:
    """k centroids of the unit rows x (N, D). Stops when the mean cosine gains less than `tolerance`.

    Raises ValueError if there are fewer rows than clusters.
    """
    if len(x) < k:
        raise ValueError(f"{k} clusters asked of {len(x)} images")
    rng = np.random.default_rng(seed)
    centroids, objective = plus_plus(x, k, rng), []
    sizes = np.zeros(k, np.int64)
    for _ in range(iterations):
        labels, best = assign(x, centroids)
        sizes = np.bincount(labels, minlength=k)
        centroids = _means(x, labels, best, centroids, sizes)
        objective.append(float(best.mean(dtype=np.float64)))
        if len(objective) > 1 and objective[-1] - objective[-2] < tolerance:
            break
    return Fit(centroids, sizes, objective)


def plus_plus(x: Floats, k: int, rng: np.random.Generator) -> Floats:
    """k distinct rows of x, each drawn in proportion to its squared distance from those before (Arthur 2007)."""
    chosen = [int(rng.integers(len(x)))]
    nearest = np.maximum(0.0, 2 - 2 * (x @ x[chosen[0]]).astype(np.float64))
    nearest[chosen[0]] = 0.0
    for _ in range(k - 1):
        total = np.cumsum(nearest)
        free = np.setdiff1d(np.arange(len(x)), chosen) if total[-1] <= 0 else None
        pick = int(np.searchsorted(total, rng.random() * total[-1], side="right")) if free is None else int(free[0])
        chosen.append(min(pick, len(x) - 1))
        nearest = np.minimum(nearest, np.maximum(0.0, 2 - 2 * (x @ x[chosen[-1]])))
        nearest[chosen[-1]] = 0.0
    return x[chosen].copy()


def _means(x: Floats, labels: Ints, best: Floats, old: Floats, sizes: Ints) -> Floats:
    """Unit mean of each cluster; an empty one takes the row that fits its own cluster worst."""
    order = np.argsort(labels, kind="stable")
    filled = np.flatnonzero(sizes)
    starts = np.concatenate([[0], np.cumsum(sizes[filled])[:-1]])
    new = old.astype(np.float64)
    new[filled] = np.add.reduceat(x[order].astype(np.float64), starts, axis=0)
    empty = np.flatnonzero(sizes == 0)
    new[empty] = x[np.argsort(best, kind="stable")[: len(empty)]]
    lengths = np.linalg.norm(new, axis=1, keepdims=True)
    return np.where(lengths > 1e-9, new / np.maximum(lengths, 1e-9), old).astype(np.float32)
