"""Pairs of near-identical descriptors by a Faiss index, as in the paper: what the grid of cells is measured against.

Source: DINOv2 paper, appendix A.3 (k = 64 nearest neighbours found by Faiss). Differs: what the index returns
is looked at in full, so that every pair has its exact cosine; what it does not return is not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

PER_LIST = 64  # rows that a list's centre is fitted on, at most
MANY = 1024  # neighbours asked for where all are wanted
LOOKED = 65_536  # pairs looked at at once

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Lists:
    """How an index is made and asked. lists: inverted lists, 0: 4 x the square root of the rows; probes: those asked.

    bytes_per_row: of product quantization (8 bits each); 0 keeps rows as they are (IVF-Flat).
    """

    lists: int = 0
    probes: int = 32
    bytes_per_row: int = 64


class Index:
    """An inverted-file index over rows y (M, D) of unit length; on a GPU if Faiss has one."""

    def __init__(self, y: Floats, how: Lists, seed: int = 0) -> None:
        self.y, self.how = y, how
        lists = max(1, min(how.lists or int(4 * len(y) ** 0.5), len(y) // 39)) if len(y) else 1
        code = f"PQ{how.bytes_per_row}np" if how.bytes_per_row and len(y) >= 256 else "Flat"
        self.index: Any = faiss.index_factory(y.shape[1], f"IVF{lists},{code}", faiss.METRIC_INNER_PRODUCT)
        if len(y):
            self._fill(lists, seed)

    def _fill(self, lists: int, seed: int) -> None:
        self.index.cp.seed, self.index.cp.max_points_per_centroid, self.index.cp.min_points_per_centroid = seed, PER_LIST, 1
        self.index.nprobe = min(self.how.probes, lists)
        if getattr(faiss, "get_num_gpus", int)():
            self.index = faiss.index_cpu_to_all_gpus(self.index)
        few = np.random.default_rng(seed).permutation(len(self.y))[: max(PER_LIST * lists, 16_384)]
        self.index.train(self.y[np.sort(few)])
        self.index.add(self.y)

    def pairs_above(self, x: Floats, threshold: float, k: int, same: bool) -> tuple[Ints, Ints, Floats]:
        """As exact.pairs_above(x, y, ...), of what the index returns: at most k per row of x; k = 0: at most MANY."""
        if not len(x) or not len(self.y):
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
        _, found = self.index.search(x, min(len(self.y), (k or MANY) + same))
        i, rank = np.nonzero(found >= 0)
        j = found[i, rank].astype(np.int64)
        if same:
            i, j = _once(i, j, len(x))
        parts = [(x[i[at : at + LOOKED]] * self.y[j[at : at + LOOKED]]).sum(axis=1) for at in range(0, len(i), LOOKED)]
        similarity = np.concatenate([np.zeros(0, np.float32), *parts])
        above = similarity >= threshold
        return i[above].astype(np.int64), j[above], similarity[above]


def _once(i: Ints, j: Ints, n: int) -> tuple[Ints, Ints]:
    """Every unordered pair once, i < j, however often and in whichever order it was found; ordered."""
    low, high = np.minimum(i, j), np.maximum(i, j)
    key = np.unique((low * n + high)[low != high])
    return key // n, key % n
