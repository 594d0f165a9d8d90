"""Who is nearest: one question, asked of whatever answers it fastest here: a GPU, bf16 units of the CPU, or float32.

All give the same answer, but for rows whose two best centroids differ by less than the products' rounding.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from curation.kmeans import fused, nearest
from curation.kmeans.sketch import Targets

ROWS = 16_384  # that a GPU is sent at once

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def assign(x: Floats, centroids: Floats, guess: Ints | None = None, *, euclidean: bool = False) -> tuple[Ints, Floats]:
    """Nearest centroid of each row of x (N, D), and the cosine to it, or x . c - |c|^2 / 2. Ties go to the lower number.

    guess (N,): clusters that rows are likely to be in. A function of the arguments alone.
    """
    return ask(x, Targets.of(centroids, euclidean=euclidean), guess)


def ask(x: Floats, targets: Targets, guess: Ints | None = None) -> tuple[Ints, Floats]:
    """The same of centroids made ready, for when they are asked of many rows."""
    if torch.cuda.is_available():
        return on_gpu(x, targets)
    return nearest.nearest(x, targets, guess, nearest.fitting(x, targets, guess))


def on_gpu(x: Floats, targets: Targets) -> tuple[Ints, Floats]:
    """The same on the GPU, ROWS at a time."""
    c, bias = targets.centroids_KD.cuda(), targets.bias_K.cuda()
    labels, scores = np.empty(len(x), np.int64), np.empty(len(x), np.float32)
    for at in range(0, len(x), ROWS):
        found, best = fused.best(torch.from_numpy(x[at : at + ROWS]).cuda(), c, bias)
        labels[at : at + ROWS], scores[at : at + ROWS] = found.cpu().numpy(), best.cpu().numpy()
    return labels, scores
