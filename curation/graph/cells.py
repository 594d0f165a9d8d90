"""Pairs of near-identical rows among those that share a cell, or look into each other's.

Rows come in slices of bounded size. A product of sketches says which pairs may reach the threshold; only these are
looked at in full (fp32). Each pair is found once: by the row whose home comes first, or by the only one that looks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 2048  # rows of one product of sketches
LOOKED = 16_384  # pairs looked at at once
CROWDED = 0.1  # share of a block's pairs from which one product of whole rows is cheaper than pairs one by one

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Slice:
    """Rows in the order of their cells.

    ids (N,); home (N,) ascending; vectors (N, D) float16 of unit length but for rounding; sketches (N, S + 1) float16,
    or (N, 0); visitor, visited (V,): the further cells that rows look into, by cell.
    """

    ids: pa.Array
    home: Ints
    vectors: Tensor
    sketches: Tensor
    visitor: Ints
    visited: Ints
    keys: Ints = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", np.sort(_key(self.visitor, self.visited)))

    def looks_into(self, rows: Ints, cells: Ints) -> NDArray[np.bool_]:
        """Whether each row looks into the cell beside it."""
        wanted = _key(rows, cells)
        at = np.minimum(np.searchsorted(self.keys, wanted), max(0, len(self.keys) - 1))
        return self.keys[at] == wanted if len(self.keys) else np.zeros(len(rows), bool)


def _key(row: Ints, cell: Ints) -> Ints:
    return (row << 32) | cell


@dataclass
class Work:
    """What was done: pairs whose sketches were multiplied, and pairs looked at in full."""

    sketched: int = 0
    looked: int = 0


@dataclass(frozen=True)
class Rule:
    """cosine >= threshold makes a pair, if the sketches' product reaches `floor`; k: most pairs of a row in a cell, 0: all."""

    threshold: float
    floor: float
    k: int


def pairs(x: Slice, y: Slice, rule: Rule, work: Work) -> tuple[Ints, Ints, Floats]:
    """Rows (i of x, j of y) with cosine at or above the threshold where i looks into j's home.

    x is y: also those of one home, i < j. Pairs that j's own look would find too are left to the lower home.
    """
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for cell, start, stop in _runs(y.home):
        lo, hi = np.searchsorted(x.visited, [cell, cell + 1])
        found.append(_first_of_two(x, y, _products(x, x.visitor[lo:hi], y, start, stop, rule, work)))
        if x is y:
            i, j, similarity = _products(x, np.arange(start, stop), y, start, stop, rule, work, same=True)
            found.append((i, j, similarity))
    i, j, similarity = zip(*found, strict=True)
    return np.concatenate(i), np.concatenate(j), np.concatenate(similarity)


def across(x: Slice, y: Slice, rule: Rule, work: Work) -> tuple[Ints, Ints, Floats]:
    """Rows (i of x, j of y) of the same home: what is left where a bunch has more than one slice."""
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for cell, start, stop in _runs(y.home):
        lo, hi = np.searchsorted(x.home, [cell, cell + 1])
        found.append(_products(x, np.arange(lo, hi), y, start, stop, rule, work))
    i, j, similarity = zip(*found, strict=True)
    return np.concatenate(i), np.concatenate(j), np.concatenate(similarity)


def _runs(home: Ints) -> Iterator[tuple[int, int, int]]:
    """(cell, first row, end row) of every cell that has rows."""
    bounds = [*np.flatnonzero(np.diff(home, prepend=-1)).tolist(), len(home)]
    for start, stop in itertools.pairwise(bounds):
        yield int(home[start]), start, stop


def _first_of_two(x: Slice, y: Slice, found: tuple[Ints, Ints, Floats]) -> tuple[Ints, Ints, Floats]:
    i, j, similarity = found
    mine = (x.home[i] < y.home[j]) | ~y.looks_into(j, x.home[i])
    return i[mine], j[mine], similarity[mine]


def _products(
    x: Slice, rows: Ints, y: Slice, start: int, stop: int, rule: Rule, work: Work, same: bool = False
) -> tuple[Ints, Ints, Floats]:
    """Pairs of `rows` of x with rows start..stop of y; same: of i < j only."""
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for a in range(0, len(rows), BLOCK):
        some = rows[a : a + BLOCK]
        for b in range(start, stop, BLOCK):
            if same and b + BLOCK <= some[0]:
                continue
            found.append(_block(x, some, y, b, min(stop, b + BLOCK), rule, work, same))
    i, j, similarity = zip(*found, strict=True)
    return np.concatenate(i), np.concatenate(j), np.concatenate(similarity)


def _block(
    x: Slice, rows: Ints, y: Slice, start: int, stop: int, rule: Rule, work: Work, same: bool
) -> tuple[Ints, Ints, Floats]:
    work.sketched += len(rows) * (stop - start)
    at = torch.from_numpy(rows)
    if x.sketches.shape[1]:
        likely = x.sketches[at].float() @ y.sketches[start:stop].float().T
        i, j = torch.nonzero(likely >= rule.floor, as_tuple=True)
    else:
        i, j = torch.ones(len(rows), stop - start, dtype=torch.bool).nonzero(as_tuple=True)
    if same:
        later = at[i] < j + start
        i, j = i[later], j[later]
    work.looked += len(i)
    similarity = _cosines(x.vectors, at, y.vectors[start:stop], i, j)
    kept = torch.nonzero(similarity >= rule.threshold)[:, 0]
    i, j, similarity = i[kept].numpy(), j[kept].numpy(), similarity[kept].numpy()
    nearest = _nearest(i, j, similarity, rule.k)
    return rows[i[nearest]], j[nearest] + start, similarity[nearest]


def _cosines(x: Tensor, at: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Cosines of rows at[i] of x and j of y, whichever way is cheaper."""
    if len(i) > CROWDED * len(at) * len(y):
        return (_unit(x[at]) @ _unit(y).T)[i, j]
    whole = _unit(y) if len(i) > len(y) else None
    parts = [torch.zeros(0)]
    for some in range(0, len(i), LOOKED):
        b = j[some : some + LOOKED]
        parts.append((_unit(x[at[i[some : some + LOOKED]]]) * (whole[b] if whole is not None else _unit(y[b]))).sum(1))
    return torch.cat(parts)


def _unit(rows: Tensor) -> Tensor:
    """(N, D) float16 rows as float32 of unit length; zero rows stay zero."""
    full = rows.float()
    return full / full.norm(dim=1, keepdim=True).clamp_min(1e-12)


def _nearest(i: Ints, j: Ints, similarity: Floats, k: int) -> Ints:
    """Which pairs stay if every i keeps its k most similar, of equal ones the first; in order of (i, j)."""
    if not k or not len(i) or int(np.bincount(i).max()) <= k:
        return np.arange(len(i))
    order = np.lexsort((j, -similarity, i))
    starts = np.flatnonzero(np.diff(i[order], prepend=-1))
    rank = np.arange(len(i)) - np.repeat(starts, np.diff(np.append(starts, len(i))))
    return np.sort(order[rank < k])
