"""Pairs of near-identical rows among those that share a cell, or look into each other's.

Rows come in slices of bounded size. Products of sketches, short ones first, say which pairs may reach the threshold; only
these are looked at in full (fp32). Each pair is found once: by the row whose home comes first, or by the only one that looks.

Letters: N rows, D dimensions, R axes that cells live in, C cells.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from curation.graph.grid import Grid

BLOCK = 8192  # rows of one product of sketches, with those of a cell
CELLS = 64  # cells whose centres rows are held against at once
TILE = 48  # rows of consecutive cells, alike, that are held against all who look into any of them
CROWDED = 0.15  # share of a block's pairs from which one product of whole rows is cheaper than pairs one by one
CLOSE = 1e-5  # of a margin: what a product of single precision leaves open is computed in double

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Slice:
    """Rows in the order of their cells.

    ids (N,); home (N,) ascending; near (N,): cosine to the home's centre; places (N, R): where rows are among the cells;
    vectors (N, D) float16 of unit length but for rounding; sketches: (N, dims + 1) float32 for each level of the grid.
    """

    ids: pa.Array
    home: Ints
    near: Floats
    places: Floats
    vectors: Tensor
    sketches: Sequence[Tensor]
    scale: Tensor = field(init=False)  # (N,) what brings each row to unit length

    def __post_init__(self) -> None:
        norms = [self.vectors[at : at + BLOCK].float().norm(dim=1) for at in range(0, len(self.vectors), BLOCK)]
        object.__setattr__(self, "scale", 1 / torch.cat([torch.zeros(0), *norms]).clamp_min(1e-12))


@dataclass
class Work:
    """What was done: pairs that met, and multiply-adds in all."""

    met: int = 0
    adds: int = 0


@dataclass(frozen=True)
class Rule:
    """Who looks where, and what makes a pair: the grid's. k: most pairs of a row in a tile of cells, 0: all."""

    grid: Grid
    k: int


@dataclass(frozen=True)
class Visits:
    """rows (C, N): which rows of a slice look into which of the cells `first`, `first` + 1, ...; their homes are left out."""

    first: int
    rows: Bools

    def any_of(self, homes: Ints) -> Ints:
        """Rows that look into any of some cells, ascending."""
        return np.flatnonzero(self.rows[np.unique(homes) - self.first].any(axis=0))

    def hold(self, rows: Ints, cells: Ints) -> Bools:
        """Whether each row looks into the cell beside it."""
        return self.rows[cells - self.first, rows]


def visits(x: Slice, first: int, last: int, grid: Grid, work: Work) -> Visits:
    """Who of x looks into cells first..last, inclusive."""
    looking = np.empty((last + 1 - first, len(x.home)), bool)
    for at in range(first, last + 1, CELLS):
        cells = np.arange(at, min(last + 1, at + CELLS))
        looking[cells - first] = _visits(x, cells, grid)
    work.adds += (last + 1 - first) * x.places.size
    return Visits(first, looking)


def pairs(x: Slice, y: Slice, seen: Visits, rule: Rule, work: Work) -> tuple[Ints, Ints, Floats]:
    """Rows (i of x, j of y) with cosine at or above the threshold where i looks into j's home.

    x is y: also those of one home, i < j. Pairs that j's own look would find too are left to the lower home.
    """
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for start, stop in _tiles(y.home):
        lookers = seen.any_of(y.home[start:stop])
        found.append(_first_of_two(x, y, _products(x, lookers, y, start, stop, rule, work, seen), rule.grid))
    for _, start, stop in _runs(y.home) if x is y else ():
        found.append(_products(x, np.arange(start, stop), y, start, stop, rule, work, same=True))
    return _joined(found)


def across(x: Slice, y: Slice, rule: Rule, work: Work) -> tuple[Ints, Ints, Floats]:
    """Rows (i of x, j of y) of the same home: what is left where a bunch has more than one slice."""
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for cell, start, stop in _runs(y.home):
        lo, hi = np.searchsorted(x.home, [cell, cell + 1])
        found.append(_products(x, np.arange(lo, hi), y, start, stop, rule, work))
    return _joined(found)


def _joined(found: list[tuple[Ints, Ints, Floats]]) -> tuple[Ints, Ints, Floats]:
    i, j, similarity = zip(*found, strict=True)
    return np.concatenate(i), np.concatenate(j), np.concatenate(similarity)


def _visits(x: Slice, cells: Ints, grid: Grid) -> Bools:
    """(C, N): which rows look into which cells, their homes left out."""
    bound = torch.from_numpy(grid.margin - x.near)
    gaps = torch.addmm(bound, torch.from_numpy(grid.centroids[cells]), torch.from_numpy(x.places).T)
    looking = (gaps >= 0).numpy()
    cell, row = np.divmod(np.flatnonzero((gaps.abs_() < CLOSE).numpy()), len(x.home))
    looking[cell, row] = _looks(x, row, cells[cell], grid)
    lo, hi = np.searchsorted(x.home, cells), np.searchsorted(x.home, cells, side="right")
    for visited, start, stop in zip(looking, lo, hi, strict=True):
        visited[start:stop] = False
    return looking


def _looks(x: Slice, rows: Ints, cells: Ints, grid: Grid) -> Bools:
    """Whether each row looks into the cell beside it: the same in whatever company it is asked."""
    similarity = (x.places[rows].astype(np.float64) * grid.centroids[cells]).sum(axis=1)
    return similarity - x.near[rows] + grid.margin >= 0


def _tiles(home: Ints) -> Iterator[tuple[int, int]]:
    """First and end row of whole cells, put together up to TILE rows, or of one larger cell."""
    begun = 0
    for _, start, stop in _runs(home):
        if stop - begun > TILE and start > begun:
            yield begun, start
            begun = start
    if len(home):
        yield begun, len(home)


def _runs(home: Ints) -> Iterator[tuple[int, int, int]]:
    """(cell, first row, end row) of every cell that has rows."""
    bounds = [*np.flatnonzero(np.diff(home, prepend=-1)).tolist(), len(home)]
    for start, stop in itertools.pairwise(bounds):
        yield int(home[start]), start, stop


def _first_of_two(x: Slice, y: Slice, found: tuple[Ints, Ints, Floats], grid: Grid) -> tuple[Ints, Ints, Floats]:
    i, j, similarity = found
    mine = (x.home[i] < y.home[j]) | ~_looks(y, j, x.home[i], grid)
    return i[mine], j[mine], similarity[mine]


def _products(
    x: Slice,
    rows: Ints,
    y: Slice,
    start: int,
    stop: int,
    rule: Rule,
    work: Work,
    seen: Visits | None = None,
    same: bool = False,
) -> tuple[Ints, Ints, Floats]:
    """Pairs of `rows` of x with rows start..stop of y; seen: of those who look only; same: of i < j only."""
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for a in range(0, len(rows), BLOCK):
        some = rows[a : a + BLOCK]
        for b in range(start, stop, BLOCK):
            if same and b + BLOCK <= some[0]:
                continue
            columns = slice(b, min(stop, b + BLOCK))
            i, j = _likely(x, some, y, columns, rule.grid, work)
            if same:
                later = some[i] < j + b
                i, j = i[later], j[later]
            if seen:
                looks = seen.hold(some[i], y.home[j + b])
                i, j = i[looks], j[looks]
            found.append(_in_full(x, some, y, columns, (i, j), rule, work))
    return _joined(found)


def _likely(x: Slice, rows: Ints, y: Slice, columns: slice, grid: Grid, work: Work) -> tuple[Ints, Ints]:
    """Pairs (i of rows, j of columns) that pass every level of the grid."""
    width = columns.stop - columns.start
    work.met += len(rows) * width
    i, j = np.divmod(np.arange(0 if grid.levels else len(rows) * width), width)
    for number, level in enumerate(grid.levels):
        mine, others = x.sketches[number], y.sketches[number][columns]
        if number == 0:
            likely = mine[torch.from_numpy(rows)] @ others.T
            work.adds += likely.numel() * (level.dims + 1)
            i, j = np.divmod(np.flatnonzero((likely >= level.floor).numpy()), width)
        else:
            passed = _cosines(mine, rows, others, i, j, work) >= level.floor
            i, j = i[passed], j[passed]
    return i, j


def _in_full(
    x: Slice, rows: Ints, y: Slice, columns: slice, likely: tuple[Ints, Ints], rule: Rule, work: Work
) -> tuple[Ints, Ints, Floats]:
    i, j = likely
    similarity = _cosines(x.vectors, rows, y.vectors[columns], i, j, work)
    similarity *= x.scale.numpy()[rows[i]] * y.scale.numpy()[j + columns.start]
    kept = similarity >= rule.grid.threshold
    i, j, similarity = i[kept], j[kept], similarity[kept]
    nearest = _nearest(i, j, similarity, rule.k)
    return rows[i[nearest]], j[nearest] + columns.start, similarity[nearest]


def _cosines(x: Tensor, rows: Ints, y: Tensor, i: Ints, j: Ints, work: Work) -> Floats:
    """Products of x[rows[i]] and y[j], i ascending: of all rows if many pairs are asked for, else of just these."""
    if not len(i):
        return np.zeros(0, np.float32)
    if len(i) > CROWDED * len(rows) * len(y):
        work.adds += len(rows) * len(y) * x.shape[1]
        return (x[torch.from_numpy(rows)].float() @ y.float().T).numpy()[i, j]
    work.adds += len(i) * x.shape[1]
    busy, starts = np.unique(i, return_index=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")  # torch's, once a process
        asked = torch.sparse_csr_tensor(
            torch.from_numpy(np.append(starts, len(i))), torch.from_numpy(j), torch.zeros(len(j)), (len(busy), len(y)),
            check_invariants=False,
        )  # fmt: skip
    return torch.sparse.sampled_addmm(asked, x[torch.from_numpy(rows[busy])].float(), y.float().T, beta=0.0).values().numpy()


def _nearest(i: Ints, j: Ints, similarity: Floats, k: int) -> Ints:
    """Which pairs stay if every i keeps its k most similar, of equal ones the first; in order of (i, j)."""
    if not k or not len(i) or int(np.bincount(i).max()) <= k:
        return np.arange(len(i))
    order = np.lexsort((j, -similarity, i))
    starts = np.flatnonzero(np.diff(i[order], prepend=-1))
    rank = np.arange(len(i)) - np.repeat(starts, np.diff(np.append(starts, len(i))))
    return np.sort(order[rank < k])
