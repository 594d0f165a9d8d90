"""Pairs of near-identical descriptors by exact products.

Source of the method: DINOv2 paper, appendix A.3 (k = 64 nearest neighbours, an edge above a cosine threshold).
Differs: products are exact, block by block, so no pair above the threshold is
missed but those past an image's 64 nearest.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

BLOCK = 4096  # rows of one product: 64 MiB of float32 similarities

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


def pairs_above(x: Floats, y: Floats, threshold: float, k: int, same: bool) -> tuple[Ints, Ints, Floats]:
    """Rows (i, j) with cos(x_i, y_j) >= threshold, at most the k most similar j of every i and block of y.

    x: (N, D), y: (M, D) float32, rows of unit length. same: x is y, and only pairs i < j are wanted.
    Returns i, j (int64) and the similarities (float32), ordered by (i, j) within a block.
    """
    found = [
        _block(x[i : i + BLOCK], y[j : j + BLOCK], i, j, threshold, k, same)
        for i in range(0, len(x), BLOCK)
        for j in range(i if same else 0, len(y), BLOCK)
    ]
    empty = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    rows, columns, similarities = zip(*[empty, *found], strict=True)
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(similarities)


def _block(x: Floats, y: Floats, i0: int, j0: int, threshold: float, k: int, same: bool) -> tuple[Ints, Ints, Floats]:
    products = torch.from_numpy(x) @ torch.from_numpy(y).T  # (B, B)
    if same and i0 == j0:
        products = products.masked_fill(torch.ones_like(products, dtype=torch.bool).tril(), -2.0)
    busy = torch.nonzero(products.amax(1) >= threshold)[:, 0]
    values, columns = products[busy].topk(min(k, len(y)), dim=1)  # exactly k, however many are equal
    r, at = torch.nonzero(values >= threshold, as_tuple=True)
    order = torch.argsort(r * len(y) + columns[r, at])
    r, c, similarity = r[order], columns[r, at][order], values[r, at][order]
    return (busy[r].numpy() + i0), (c.numpy() + j0), similarity.numpy().astype(np.float32)
