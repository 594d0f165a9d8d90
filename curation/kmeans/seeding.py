"""The first centroids: k-means++ on a sample, in rounds that double.

Source: Arthur and Vassilvitskii 2007: each row drawn in proportion to its squared distance from those drawn before.
Differs: as in k-means|| (Bahmani et al. 2012) several are drawn between two looks at the distances, a tenth of those there
are, so that k rows cost one product of the sample with k centroids.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

PER_CENTROID = 16  # rows of the sample that a centroid is drawn from
SHARE = 10  # rows drawn at once: one for so many that there are
BLOCK = 8192  # rows of one product

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def plus_plus(x: Floats, k: int, rng: np.random.Generator) -> Floats:
    """k rows of x (N, D), all different rows, far from one another. Raises ValueError if there are fewer."""
    if len(x) < k:
        raise ValueError(f"{k} clusters asked of {len(x)} images")
    room = k * PER_CENTROID
    sample = x if len(x) <= room else x[np.sort(rng.choice(len(x), room, replace=False))]
    chosen = np.zeros(0, np.int64)
    squared, nearest = (sample.astype(np.float64) ** 2).sum(axis=1), np.ones(len(sample))
    while len(chosen) < k:
        new = _drawn(nearest, chosen, min(k - len(chosen), 1 + len(chosen) // SHARE), rng)
        if len(chosen) == 0:
            nearest[:] = np.inf
        nearest = np.minimum(nearest, _squared_distances(sample, squared, new))
        chosen = np.concatenate([chosen, new])
    return sample[chosen].copy()


def _drawn(weights: NDArray[np.float64], taken: Ints, count: int, rng: np.random.Generator) -> Ints:
    """Rows that are not taken, in proportion to their weights, without replacement; of rows without weight the first.

    Source: Efraimidis and Spirakis 2006: the largest of log(u) / weight.
    """
    with np.errstate(divide="ignore"):
        keys = np.where(weights > 0, np.log(1 - rng.random(len(weights))) / np.maximum(weights, 1e-300), -np.finfo(float).max)
    keys[taken] = -np.inf
    return np.argsort(-keys, kind="stable")[:count].astype(np.int64)


def _squared_distances(x: Floats, squared: NDArray[np.float64], rows: Ints) -> NDArray[np.float64]:
    """(N,) to the nearest of some rows of x; 0 of these themselves, and where it is no more than rounding."""
    few, half = torch.from_numpy(x[rows]), torch.from_numpy((squared[rows] / 2).astype(np.float32))
    product = np.empty(len(x), np.float64)
    for at in range(0, len(x), BLOCK):
        product[at : at + BLOCK] = (torch.from_numpy(x[at : at + BLOCK]) @ few.T - half).amax(dim=1).numpy()
    found = squared - 2 * product
    found[found < 1e-6 * np.maximum(squared, 1e-30)] = 0.0
    found[rows] = 0.0
    return found
