"""Which row of a manifest stands at which position of a training, as a function of (seed, position) alone.

An epoch is one pass over a permutation that is computed, never stored: a Feistel network over a power of four, walked on
until it lands below the number of slots (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"). Rows of unequal
weight take slots by systematic sampling: row i has floor or ceil of weight_i slots an epoch, wherever they fall.

Letters: N positions, R rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from embedder.training.draws import bits, stream, uniforms

ROUNDS = 6
BLOCK = 1000  # batches; shares of homogeneous batches hold exactly in every block of as many
_ORDER, _OFFSET, _KINDS = 1, 2, 3  # streams


def permuted(position_N: NDArray[np.int64], size: int, key: int) -> NDArray[np.int64]:
    """(N,) places of positions 0..size-1 in a permutation of them that `key` names."""
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    out = position_N.astype(np.uint64)
    waiting = np.arange(len(out))
    while len(waiting):
        out[waiting] = _feistel(out[waiting], half, key)
        waiting = waiting[out[waiting] >= size]
    return out.astype(np.int64)


def _feistel(value_N: NDArray[np.uint64], half: int, key: int) -> NDArray[np.uint64]:
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = value_N >> shift, value_N & mask
    for turn in range(ROUNDS):
        left, right = right, left ^ (bits(stream(key, turn), right) & mask)
    return (left << shift) | right


@dataclass(frozen=True)
class Order:
    """Rows of one set in an endless order. sums_R: running sums of the rows' weights; None where all weigh the same."""

    rows: int
    sums_R: NDArray[np.float64] | None
    key: int

    @property
    def epoch(self) -> int:
        """Slots of an epoch: the sum of the weights, or the number of rows where all weigh the same."""
        return self.rows if self.sums_R is None else max(1, round(float(self.sums_R[-1])))

    def at(self, position_N: NDArray[np.int64], attempt: int = 0) -> NDArray[np.int64]:
        """(N,) row numbers at positions of the order. attempt: of candidates for a slot whose earlier rows were bad."""
        out = np.empty(len(position_N), np.int64)
        epochs = position_N // self.epoch
        for epoch in np.unique(epochs):
            here = epochs == epoch
            key = stream(self.key, _ORDER, int(epoch), attempt)
            out[here] = self._rows(permuted(position_N[here] % self.epoch, self.epoch, key), int(epoch))
        return out

    def _rows(self, slot_N: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        if self.sums_R is None:
            return slot_N
        offset = uniforms(stream(self.key, _OFFSET), np.array([epoch]), 1)[0, 0]
        point_N = (slot_N + offset) / self.epoch * self.sums_R[-1]
        return np.minimum(np.searchsorted(self.sums_R, point_N, side="right"), self.rows - 1)


@dataclass(frozen=True)
class Mix:
    """Which batches hold one component alone; the others (None) hold everything."""

    shares: tuple[tuple[str, float], ...]
    seed: int

    def of(self, batch: int) -> tuple[str | None, int]:
        """The component of a global batch, and how many batches before it had the same one."""
        if not self.shares:
            return None, batch
        kinds = _kinds(self.shares, self.seed, batch // BLOCK)
        kind = int(kinds[batch % BLOCK])
        before = batch // BLOCK * _counts(self.shares)[kind] + int((kinds[: batch % BLOCK] == kind).sum())
        return ([*(name for name, _ in self.shares), None])[kind], before


def mix(shares: Mapping[str, float], seed: int) -> Mix:
    """Raises ValueError for shares that are no part of the batches."""
    if any(not 1 / BLOCK <= share <= 1 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
        raise ValueError(f"data.homogeneous: shares are {1 / BLOCK} to 1 and add up to at most 1, not {dict(shares)}")
    return Mix(tuple(sorted(shares.items())), seed)


def _counts(shares: tuple[tuple[str, float], ...]) -> list[int]:
    """Batches of each component in a block, and at the end those of everything; together BLOCK."""
    edges = np.rint(np.cumsum([0.0, *(share for _, share in shares)]) * BLOCK).astype(int).tolist()
    return [b - a for a, b in zip(edges, [*edges[1:], BLOCK], strict=True)]


@lru_cache(maxsize=8)
def _kinds(shares: tuple[tuple[str, float], ...], seed: int, block: int) -> NDArray[np.int64]:
    """(BLOCK,) the component's number of each batch of a block; the last number is everything."""
    kinds = np.repeat(np.arange(len(shares) + 1), _counts(shares))
    return kinds[permuted(np.arange(BLOCK), BLOCK, stream(seed, _KINDS, block))]
