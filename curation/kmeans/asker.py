"""The same rows, asked for their nearest centroid pass after pass: what was ruled out stays ruled out for a while.

For a tile of rows and a centroid it is remembered by how much, at most, a row of the tile could prefer it to its own. When
centroids move, that grows by no more than the length of the move times that of the row, and by what the rows lost on
their own centroid (Elkan 2003, for tiles instead of rows): what stays below zero need not be multiplied. Exact.

Letters: N rows, D dimensions, K centroids, T rows of a tile, L tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curation.kmeans import nearest
from curation.kmeans.assign import on_gpu
from curation.kmeans.nearest import BLOCK, RECALL, TILE, TILED, Sketch, Targets

CALM = 0.03  # share of the rows that move, below which it pays to remember
CHOSEN = (1, 3)  # passes at which the sketch is chosen: the first with something to go by, and one that has settled

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass
class Memory:
    """Since when: targets. order (N,): rows, tile by tile. margins_LK: preferences, at most. longest_L: rows' lengths."""

    targets: Targets
    order: Ints
    margins_LK: Tensor
    longest_L: Tensor


class Asker:
    """Rows x (N, D) float32 that are asked again and again. Holds, beside them, up to twice the memory they take."""

    def __init__(self, x: Floats) -> None:
        self.x, self.k, self.asked = x, 0, 0
        self.labels: Ints | None = None
        self.scores = np.zeros(0, np.float32)
        self.lengths = torch.from_numpy(np.sqrt(np.einsum("nd,nd->n", x, x)))
        self.sketch: Sketch | None = None
        self.made: Tensor | None = None  # the rows' sketches
        self.price = 1.0  # of a pass along the sketch, in whole products
        self.memory: Memory | None = None
        self.calm = False  # few rows move: worth remembering

    def ask(self, targets: Targets) -> tuple[Ints, Floats]:
        """The centroid of best score of each row, and the score."""
        k, dims = targets.centroids_KD.shape
        if torch.cuda.is_available():
            return on_gpu(self.x, targets)
        if len(targets.bias_K) != self.k:  # other centroids altogether
            self.k, self.labels, self.memory, self.asked = len(targets.bias_K), None, None, 0
        before = self.labels
        if before is None or k < nearest.LEAST or k > TILE * dims or len(self.x) < 4 * TILE:
            labels, self.scores = nearest.nearest(self.x, targets, before)
            self.asked, self.labels = self.asked + 1, labels
            return labels, self.scores
        if not self._from_memory(targets, before):
            self._afresh(targets, before)
        self.asked += 1
        labels = before if self.labels is None else self.labels
        self.calm = float((labels != before).mean()) < CALM
        return labels, self.scores

    def _choose(self, targets: Targets, before: Ints) -> None:
        self.sketch = nearest.fitting(self.x, targets, before)
        self.price = nearest.price(self.x, targets, before, self.sketch)
        if self.sketch:
            blocks = torch.from_numpy(self.x).split(BLOCK)
            self.made = torch.cat([nearest.shortened(block, self.sketch.axes_DR) for block in blocks])

    def _afresh(self, targets: Targets, before: Ints) -> None:
        """In the order of the clusters, along a sketch where that pays; remembered once few rows move."""
        if self.asked in CHOSEN:
            self._choose(targets, before)
        if self.sketch is None and not self.calm:
            self.labels, self.scores = nearest.nearest(self.x, targets, before)
            return
        order = np.argsort(targets.rank_K[before], kind="stable")
        margins = torch.empty(-(-len(order) // TILE), len(targets.bias_K))
        self.memory = Memory(targets, order, margins, _tiles_max(self.lengths[order])) if self.calm else None
        self.labels, self.scores = np.empty_like(before), np.empty(len(order), np.float32)
        short = self.sketch and nearest.short(targets, self.sketch)
        for at in range(0, len(order), BLOCK):
            rows, tiles = order[at : at + BLOCK], slice(at // TILE, -(-(at + BLOCK) // TILE))
            block = torch.from_numpy(self.x[rows])
            own = nearest.own_scores(block, before[rows], targets)
            if self.sketch is None or short is None or self.made is None:
                margins[tiles] = nearest.all_margins(block, own, targets)
            else:
                margins[tiles] = nearest.margins(block, own, targets, self.sketch, short, self.made[torch.from_numpy(rows)])
            self.labels[rows], self.scores[rows] = nearest.tiled(block, margins[tiles], targets, tighten=self.calm)

    def _from_memory(self, targets: Targets, before: Ints) -> bool:
        """Whether it paid, and was done."""
        memory = self.memory
        if memory is None:
            return False
        own, x = np.empty(len(before), np.float32), self.x
        for at in range(0, len(own), BLOCK):
            rows = memory.order[at : at + BLOCK]
            own[rows] = nearest.own_scores(torch.from_numpy(x[rows]), before[rows], targets).numpy()
        lost_L = _tiles_max(torch.from_numpy((self.scores - own)[memory.order]))
        steps_K = (targets.centroids_KD - memory.targets.centroids_KD).norm(dim=1)
        margins_LK = torch.outer(memory.longest_L, steps_K).add_(targets.bias_K - memory.targets.bias_K)
        margins_LK += memory.margins_LK
        margins_LK += lost_L[:, None] + nearest.slack(memory.longest_L, targets)[:, None]
        price = RECALL + TILED * float((margins_LK > 0).float().mean())
        if price > self.price:
            self.memory = None
            return False
        self.memory = Memory(targets, memory.order, margins_LK, memory.longest_L)
        self.labels, self.scores = np.empty_like(before), np.empty_like(own)
        for at in range(0, len(own), BLOCK):
            rows, tiles = memory.order[at : at + BLOCK], slice(at // TILE, -(-(at + BLOCK) // TILE))
            block = torch.from_numpy(x[rows])
            self.labels[rows], self.scores[rows] = nearest.tiled(block, margins_LK[tiles], targets, tighten=True)
        return True


def _tiles_max(values_N: Tensor) -> Tensor:
    """(L,) the largest of each tile."""
    full = len(values_N) // TILE * TILE
    tiles = [values_N[:full].view(-1, TILE).amax(dim=1)] if full else []
    return torch.cat([*tiles, values_N[full:].amax().view(1)] if full < len(values_N) else tiles)
