"""A grid of cells over unit vectors: where rows live, which other cells they look into, and how many that must be.

Cells are those of spherical k-means on a sample, along the few axes in which rows differ most, started from rows drawn
alike: dense places get many cells, so that cells hold about as many rows everywhere. How far a row looks, and which pairs
are then worth a whole product, is not guessed: the exact neighbours of a sample of rows say what every setting would have
found, and the cheapest that finds enough is taken.

Letters: N rows, D dimensions, S axes of the sketch, R of them that cells live in, K cells, P true pairs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

BLOCK = 4096  # rows of one product
PAIRS = 65_536  # true pairs that settings are chosen on, at most
SLACK = 0.01  # of a cosine, by which sketches are trusted less than the sample asks for
WIDER = 0.03  # ... and by which rows look further: the largest gap of a sample is not the largest
UNKNOWN = 0.4  # margin where the sample holds no pair
SPREAD = 0.4  # share of the rows' squared length that the axes of the cells hold
DIMS = (16, 32, 48, 64, 96, 128, 192, 256, 384)  # sketches that are tried
PRICE = 3.0  # of one multiply-add of a pair looked at alone, in those of a block product (measured: DECISIONS.md)
SCAN = 16.0  # of telling which pairs of a block pass, a pair, in the same (measured: DECISIONS.md)

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Level:
    """A product of sketches: along the first `dims` axes; a pair goes on if it reaches `floor`."""

    dims: int
    floor: float


@dataclass(frozen=True, kw_only=True)
class Grid:
    """K cells and how to use them.

    centroids (K, R) unit rows along the first R axes; sizes (K,) rows expected in each; bunches (K,) which task has each,
    ascending. A row looks into the cells whose cosine falls short of its own cell's by at most `margin`.
    axes (D, S): those of the sketch; a pair is looked at in full if it passes every level. No levels: every pair is.
    recall: of the sample's true pairs, the share found (nan: it had none). threshold: cosine of a pair.
    """

    centroids: Floats
    sizes: Ints
    bunches: Ints
    threshold: float
    axes: Floats
    margin: float = 0.0
    levels: tuple[Level, ...] = ()
    recall: float = float("nan")


@dataclass(frozen=True)
class Truth:
    """True pairs: x, y (P, D) unit rows of cosine at or above the threshold; queries (Q, D): the rows asked."""

    x: Floats
    y: Floats
    queries: Floats


def centroids(sample: Floats, k: int, passes: int, seed: int) -> Floats:
    """k unit centroids of `sample` (S, D) by Lloyd passes from rows drawn alike, like ones close together in order.

    Raises ValueError if there are fewer rows than cells.
    """
    if len(sample) < k:
        raise ValueError(f"{k} cells asked of {len(sample)} rows")
    rng = np.random.default_rng(seed)
    found = _lloyd(sample, k, passes, rng)
    coarse = _lloyd(found, max(1, int(k**0.5)), passes, rng)
    return found[np.argsort(nearest(found, coarse)[0], kind="stable")]


def _lloyd(x: Floats, k: int, passes: int, rng: np.random.Generator) -> Floats:
    rows, c = torch.from_numpy(x), torch.from_numpy(x[np.sort(rng.choice(len(x), k, replace=False))])
    for _ in range(passes):
        labels = torch.from_numpy(nearest(x, c.numpy())[0])
        sums = torch.zeros_like(c, dtype=torch.float64).index_add_(0, labels, rows.double())
        lengths = sums.norm(dim=1, keepdim=True)
        c = torch.where(lengths > 1e-9, sums / lengths.clamp_min(1e-9), c.double()).float()
    return c.numpy()


def nearest(x: Floats, c: Floats) -> tuple[Ints, Floats]:
    """The row of c (K, R) of largest product with each row of x (N, R), and that product: two (N,)."""
    table, rows, most = torch.from_numpy(c).T, [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for at in range(0, len(x), BLOCK):
        product, row = (torch.from_numpy(x[at : at + BLOCK]) @ table).max(dim=1)
        rows.append(row.numpy())
        most.append(product.numpy())
    return np.concatenate(rows), np.concatenate(most)


def axes(sample: Floats) -> Floats:
    """The directions (D, D) in which the sample (S, D) varies about zero, those of most spread first."""
    x = torch.from_numpy(sample)
    return np.ascontiguousarray(torch.linalg.eigh((x.T @ x).double()).eigenvectors.flip(1).float().numpy())


def along(x: Floats, axes: Floats) -> Floats:
    """(N, S) rows along the axes (D, S)."""
    return (torch.from_numpy(x) @ torch.from_numpy(axes)).numpy()


def reach(heads: Floats) -> int:
    """How many axes the cells live in: the fewest of DIMS (or all) that hold SPREAD of the squared length of `heads` (N, D)."""
    held = np.cumsum((heads * heads).sum(axis=0, dtype=np.float64))
    return next((d for d in DIMS if d < len(held) and held[d - 1] >= SPREAD * held[-1]), len(held))


def places(heads: Floats, reach: int) -> Floats:
    """(N, R) unit rows: the directions of rows along the first R axes."""
    near = heads[:, :reach]
    return near / np.maximum(np.linalg.norm(near, axis=1, keepdims=True), 1e-9)


def sketch(heads: Floats, level: Level, threshold: float) -> Floats:
    """(N, dims + 1) rows whose products are the cosines to be expected: exact along the first `dims` axes, and beyond them
    as alike as a pair at the threshold would be. heads (N, at least dims): unit rows along the axes."""
    head = heads[:, : level.dims]
    tail = np.sqrt(np.maximum(0.0, 1 - (head * head).sum(axis=1)))
    return np.concatenate([head, np.sqrt(max(0.0, threshold)) * tail[:, None]], axis=1).astype(np.float32)


def true_pairs(queries: Floats, places: Ints, parts: Iterable[tuple[int, Floats]], threshold: float, seed: int) -> Truth:
    """The neighbours of the queries at or above the threshold, exactly: at most 64 of each in each part, PAIRS in all.

    queries (Q, D); places (Q, 2): the part and row each was taken from; parts: (part number, (N_p, D)) one at a time.
    """
    rng, asked = np.random.default_rng(seed), torch.from_numpy(queries)
    i, rank, y = np.zeros(0, np.int64), np.zeros(0), np.zeros((0, queries.shape[1]), np.float32)
    for part, x in parts:
        own = np.flatnonzero(places[:, 0] == part)
        for at in range(0, len(x), BLOCK):
            products = asked @ torch.from_numpy(x[at : at + BLOCK]).T
            inside = own[(places[own, 1] >= at) & (places[own, 1] < at + products.shape[1])]
            products[inside, places[inside, 1] - at] = -2.0  # itself
            busy = torch.nonzero(products.amax(1) >= threshold)[:, 0]
            best, column = products[busy].topk(min(64, products.shape[1]), dim=1)
            r, hit = torch.nonzero(best >= threshold, as_tuple=True)
            draw = rng.random(len(r))
            few = np.argsort(draw, kind="stable")[:PAIRS]
            i = np.concatenate([i, busy[r].numpy()[few]])
            rank = np.concatenate([rank, draw[few]])
            y = np.concatenate([y, x[at : at + BLOCK][column[r, hit].numpy()[few]]])
            if len(i) > PAIRS:
                kept = np.sort(np.argsort(rank, kind="stable")[:PAIRS])
                i, rank, y = i[kept], rank[kept], y[kept]
    return Truth(queries[i], y, queries)


def calibrate(grid: Grid, truth: Truth, sample: Floats, target: float) -> Grid:
    """The grid (all of its axes still there) with the least margin and the cheapest levels that find the `target` share of
    the true pairs, and only the axes that these need."""
    wide = replace(grid, margin=UNKNOWN, axes=grid.axes[:, : grid.centroids.shape[1]])
    if not len(truth.x):
        return wide
    x, y = along(truth.x, grid.axes), along(truth.y, grid.axes)
    wide, seen = _wide(grid, x, y, target)
    levels = _levels(wide, x, y, truth.queries[:512], sample[:32_768])
    passed = np.ones(len(x), bool)
    for level in levels:
        passed &= (sketch(x, level, grid.threshold) * sketch(y, level, grid.threshold)).sum(axis=1) >= level.floor
    needed = max([grid.centroids.shape[1], *(level.dims for level in levels)])
    kept = np.ascontiguousarray(grid.axes[:, :needed])
    return replace(wide, levels=levels, axes=kept, recall=float((seen & passed).mean()))


def _wide(grid: Grid, x: Floats, y: Floats, target: float) -> tuple[Grid, NDArray[np.bool_]]:
    """The grid with its margin, and which true pairs that finds: those of which either end looks into the other's home.

    As many may be missed as leave the target to be expected of fresh pairs, not of these alone.
    """
    ends = [places(heads, grid.centroids.shape[1]) for heads in (x, y)]
    (home_x, near_x), (home_y, near_y) = (nearest(end, grid.centroids) for end in ends)
    needed = np.minimum(
        near_x - (ends[0] * grid.centroids[home_y]).sum(axis=1), near_y - (ends[1] * grid.centroids[home_x]).sum(axis=1)
    )
    missed = max(0, int((1 - target) * (len(needed) + 1)) - 1)
    margin = float(np.sort(needed)[len(needed) - 1 - missed]) + WIDER
    return replace(grid, margin=margin), needed <= margin


def _levels(grid: Grid, x: Floats, y: Floats, queries: Floats, sample: Floats) -> tuple[Level, ...]:
    """What makes looking cheapest: no sketch, one, or two. Short ones cost less, and let more pairs through."""
    dim, (some, many) = grid.axes.shape[0], (along(rows, grid.axes) for rows in (queries, sample))
    met = _met(grid, some, many)  # (Q, S): which of the sample each query would be held against
    tried = [_level(grid, dims, x, y) for dims in DIMS if dims < dim] if met.any() else []
    passing = [_passing(grid, level, some, many)[met] for level in tried]
    options: list[tuple[float, tuple[Level, ...]]] = [(float(dim), ())]
    for a, first in enumerate(tried):
        once = first.dims + 1 + SCAN
        options.append((once + PRICE * dim * float(passing[a].mean()), (first,)))
        for b in range(a + 1, len(tried)):
            both = float((passing[a] & passing[b]).mean())
            again = PRICE * (tried[b].dims * float(passing[a].mean()) + dim * both) + SCAN / 2
            options.append((once + again, (first, tried[b])))
    return min(options, key=lambda option: option[0])[1]


def _met(grid: Grid, some: Floats, many: Floats) -> NDArray[np.bool_]:
    here, there = (places(heads, grid.centroids.shape[1]) for heads in (some, many))
    home, _ = nearest(there, grid.centroids)
    similarity = here @ grid.centroids.T
    return (similarity >= similarity.max(axis=1, keepdims=True) - grid.margin)[:, home]


def _level(grid: Grid, dims: int, x: Floats, y: Floats) -> Level:
    """A sketch of so many axes, with a floor that no true pair falls short of."""
    bare = Level(dims, 0.0)
    likely = (sketch(x, bare, grid.threshold) * sketch(y, bare, grid.threshold)).sum(axis=1)
    return Level(dims, float(likely.min()) - SLACK)


def _passing(grid: Grid, level: Level, some: Floats, many: Floats) -> NDArray[np.bool_]:
    return sketch(some, level, grid.threshold) @ sketch(many, level, grid.threshold).T >= level.floor
