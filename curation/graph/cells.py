"""Pairs of near-identical rows among those that share a cell, or look into each other's.

Rows come in slices of bounded size. A product of sketches says which pairs may reach the threshold; only these are
looked at in full (fp32). Each pair is found once: by the row whose home comes first, or by the only one that looks.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 2048  # rows of one product of sketches
CROWDED = 0.15  # share of a block's pairs from which one product of whole rows is cheaper than pairs one by one

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Slice:
    """Rows in the order of their cells.

    ids (N,); home (N,) ascending; vectors (N, D) float16 of unit length but for rounding; sketches (N, S + 1) float16,
    or (N, 0); looks (V,): the further cells that rows look into, `look_key(row, cell)`, ascending.
    """

    ids: pa.Array
    home: Ints
    vectors: Tensor
    sketches: Tensor
    looks: Ints
    scale: Tensor = field(init=False)  # (N,) what brings each row to unit length

    def __post_init__(self) -> None:
        norms = [self.vectors[at : at + BLOCK].float().norm(dim=1) for at in range(0, len(self.vectors), BLOCK)]
        object.__setattr__(self, "scale", 1 / torch.cat([torch.zeros(0), *norms]).clamp_min(1e-12))

    @property
    def visited(self) -> Ints:
        """The cells that rows look into, ascending."""
        return self.looks >> 32

    def visitors(self, cell: int) -> Ints:
        """Rows that look into a cell, ascending."""
        first, end = np.searchsorted(self.looks, [cell << 32, (cell + 1) << 32])
        return self.looks[first:end] & 0xFFFFFFFF

    def looks_into(self, rows: Ints, cells: Ints) -> NDArray[np.bool_]:
        """Whether each row looks into the cell beside it."""
        wanted = look_key(rows, cells)
        at = np.minimum(np.searchsorted(self.looks, wanted), max(0, len(self.looks) - 1))
        return self.looks[at] == wanted if len(self.looks) else np.zeros(len(rows), bool)


def look_key(row: Ints, cell: Ints) -> Ints:
    """Cell, then row, as one number."""
    return (cell << 32) | row


@dataclass
class Work:
    """What was done: pairs whose sketches were multiplied, and pairs whose rows were."""

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
        found.append(_first_of_two(x, y, _products(x, x.visitors(cell), y, start, stop, rule, work)))
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
    work.looked += len(rows) * (stop - start) if _crowded(i, rows, stop - start) else len(i)
    similarity = _cosines(x.vectors[at], y.vectors[start:stop], i, j) * x.scale[at[i]] * y.scale[j + start]
    kept = torch.nonzero(similarity >= rule.threshold)[:, 0]
    i, j, similarity = i[kept].numpy(), j[kept].numpy(), similarity[kept].numpy()
    nearest = _nearest(i, j, similarity, rule.k)
    return rows[i[nearest]], j[nearest] + start, similarity[nearest]


def _crowded(i: Tensor, rows: Ints | Tensor, columns: int) -> bool:
    return len(i) > CROWDED * len(rows) * columns


def _cosines(x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Products of rows i of x and j of y, float16, i ascending: all of them if many are asked for, else just those."""
    if _crowded(i, x, len(y)):
        return (x.float() @ y.float().T)[i, j]
    counts = torch.bincount(i, minlength=len(x))
    busy = counts.nonzero()[:, 0]
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts[busy].cumsum(0)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")  # torch's, once a process
        asked = torch.sparse_csr_tensor(starts, j, torch.zeros(len(j)), (len(busy), len(y)), check_invariants=False)
    return torch.sparse.sampled_addmm(asked, x[busy].float(), y.float().T, beta=0.0).values()


def _nearest(i: Ints, j: Ints, similarity: Floats, k: int) -> Ints:
    """Which pairs stay if every i keeps its k most similar, of equal ones the first; in order of (i, j)."""
    if not k or not len(i) or int(np.bincount(i).max()) <= k:
        return np.arange(len(i))
    order = np.lexsort((j, -similarity, i))
    starts = np.flatnonzero(np.diff(i[order], prepend=-1))
    rank = np.arange(len(i)) - np.repeat(starts, np.diff(np.append(starts, len(i))))
    return np.sort(order[rank < k])
