"""The first centroids by greedy k-means++: of a few rows drawn at each step, the one that helps most.

Source: Arthur and Vassilvitskii 2007; 2 + ln k candidates a step, as hierarchical k-means asks for (facebookresearch/
ssl-data-curation, src/kmeans_gpu.py). One step looks at all rows, so that this is for few rows; for more: seeding.py.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def greedy_plus_plus(x: Floats, k: int, rng: np.random.Generator) -> Floats:
    """k rows of x (N, D), far from one another; all different where there are as many. Raises ValueError if N < k."""
    if len(x) < k:
        raise ValueError(f"{k} clusters asked of {len(x)} rows")
    rows_ND, draws = torch.from_numpy(np.ascontiguousarray(x)), 2 + int(math.log(k))
    squares_N = (rows_ND.double() ** 2).sum(dim=1)
    chosen = [int(rng.integers(len(x)))]
    nearest_N = _squared_gaps(rows_ND, squares_N, torch.tensor(chosen))[0]
    for _ in range(1, k):
        candidates = _drawn(nearest_N, draws, rng)
        gaps = torch.minimum(nearest_N, _squared_gaps(rows_ND, squares_N, candidates))
        best = int(gaps.sum(dim=1).argmin())
        nearest_N = gaps[best]
        chosen.append(int(candidates[best]))
    return x[chosen].copy()


def _drawn(weights_N: torch.Tensor, count: int, rng: np.random.Generator) -> torch.Tensor:
    """Row numbers in proportion to their weights, with replacement; anywhere if nothing weighs anything."""
    sums_N = weights_N.cumsum(0)
    if not float(sums_N[-1]) > 0:
        return torch.from_numpy(rng.integers(len(weights_N), size=count))
    places = torch.searchsorted(sums_N, torch.from_numpy(rng.random(count)) * sums_N[-1], right=True)
    return places.clamp_(max=len(weights_N) - 1)


def _squared_gaps(rows_ND: torch.Tensor, squares_N: torch.Tensor, picked: torch.Tensor) -> torch.Tensor:
    """(picked, N) squared distances, float64; 0 where they are no more than rounding."""
    gaps = squares_N[picked, None] - 2 * (rows_ND[picked] @ rows_ND.T).double() + squares_N
    return torch.where(gaps < 1e-6 * (squares_N + squares_N[picked, None]), 0.0, gaps)
