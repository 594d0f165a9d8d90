"""A grid of cells over unit vectors: where rows live, which other cells they look into, and how many that must be.

Cells are those of spherical k-means on a sample, started from rows drawn alike: dense places get many cells, so that
cells hold about as many rows everywhere. How far a row looks is not guessed: the exact neighbours of a sample of rows
say what every setting would have found, and the cheapest that finds enough is taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

BLOCK = 4096  # rows of one product
PAIRS = 65_536  # true pairs that settings are chosen on, at most
MARGIN = 0.01  # by which the sketch is trusted less than the sample asks for
UNKNOWN = (32, 0.25)  # probes and margin where the sample holds no pair
PRICE = 6.0  # of one multiply-add of a pair looked at alone, in those of a block product (measured: DECISIONS.md)

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """K cells and how to use them.

    centroids (K, D) unit rows; sizes (K,) rows expected in each; bunches (K,) which task has each, ascending.
    A row looks into its `probes` nearest cells, of those whose cosine falls short of its nearest's by at most `margin`.
    axes (D, S): the sketch; a pair is looked at if its sketched cosine reaches `floor`. S = 0: every pair is.
    recall: of the sample's true pairs, the share found (nan: it had none). threshold: cosine of a pair.
    """

    centroids: Floats
    sizes: Ints
    bunches: Ints
    threshold: float
    axes: Floats
    probes: int = 1
    margin: float = 0.0
    floor: float = -2.0
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
    return found[np.argsort(nearest(found, coarse), kind="stable")]


def _lloyd(x: Floats, k: int, passes: int, rng: np.random.Generator) -> Floats:
    rows, c = torch.from_numpy(x), torch.from_numpy(x[np.sort(rng.choice(len(x), k, replace=False))])
    for _ in range(passes):
        labels = torch.from_numpy(nearest(x, c.numpy()))
        sums = torch.zeros_like(c, dtype=torch.float64).index_add_(0, labels, rows.double())
        lengths = sums.norm(dim=1, keepdim=True)
        c = torch.where(lengths > 1e-9, sums / lengths.clamp_min(1e-9), c.double()).float()
    return c.numpy()


def nearest(x: Floats, c: Floats) -> Ints:
    """(N,) the row of c (K, D) of largest product with each row of x (N, D)."""
    table = torch.from_numpy(c).T
    found = [(torch.from_numpy(x[at : at + BLOCK]) @ table).argmax(1).numpy() for at in range(0, len(x), BLOCK)]
    return np.concatenate([np.zeros(0, np.int64), *found])


def look(x: Floats, grid: Grid) -> tuple[Ints, Ints, Ints]:
    """Where rows live and look: home cell (N,) of each row of x (N, D), and (row, cell) of every further visit."""
    homes, rows, cells = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    table, probes = torch.from_numpy(grid.centroids).T, min(grid.probes, len(grid.centroids))
    for at in range(0, len(x), BLOCK):
        similarity, cell = (torch.from_numpy(x[at : at + BLOCK]) @ table).topk(probes, dim=1)
        r, rank = torch.nonzero(similarity[:, 1:] >= similarity[:, :1] - grid.margin, as_tuple=True)
        homes.append(cell[:, 0].numpy())
        rows.append(r.numpy() + at)
        cells.append(cell[r, rank + 1].numpy())
    return np.concatenate(homes), np.concatenate(rows), np.concatenate(cells)


def axes(sample: Floats, dims: int) -> Floats:
    """The `dims` directions (D, dims) in which the sample (S, D) varies most about zero."""
    x = torch.from_numpy(sample)
    return np.ascontiguousarray(torch.linalg.eigh((x.T @ x).double()).eigenvectors.flip(1)[:, :dims].float().numpy())


def sketch(x: Floats, grid: Grid) -> Floats:
    """(N, S + 1) rows whose products are the cosines to be expected: exact along the axes, and beyond them as alike as
    a pair at the threshold would be."""
    head = (torch.from_numpy(x) @ torch.from_numpy(grid.axes)).numpy()
    tail = np.sqrt(np.maximum(0.0, (x * x).sum(axis=1) - (head * head).sum(axis=1)))
    return np.concatenate([head, np.sqrt(max(0.0, grid.threshold)) * tail[:, None]], axis=1).astype(np.float32)


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
    """The cheapest probes, margin and sketch that find the `target` share of the true pairs."""
    probes, margin, seen = _reach(grid, truth, target) if len(truth.x) else (*UNKNOWN, np.zeros(0, bool))
    wide = replace(grid, probes=min(probes, len(grid.centroids)), margin=margin)
    passed = np.ones(len(seen), bool)
    found = _sketched(wide, truth, sample) if len(truth.x) else replace(wide, axes=grid.axes[:, :0])
    if found.axes.shape[1]:
        passed = (sketch(truth.x, found) * sketch(truth.y, found)).sum(axis=1) >= found.floor
    return replace(found, recall=float((seen & passed).mean()) if len(seen) else float("nan"))


def _reach(grid: Grid, truth: Truth, target: float) -> tuple[int, float, NDArray[np.bool_]]:
    """Probes and margin, and which of the true pairs they find. A pair is found if either end looks into the other's home."""
    home_x, home_y = nearest(truth.x, grid.centroids), nearest(truth.y, grid.centroids)
    rank_x, gap_x = _distance(truth.x, home_y, grid.centroids)
    rank_y, gap_y = _distance(truth.y, home_x, grid.centroids)
    allowed = int((1 - target) * len(truth.x))
    options: list[tuple[float, int, float]] = []
    gaps, rows = _looks(grid, truth.queries[:2048])
    for probes in _doubling(len(grid.centroids)):
        needed = np.minimum(np.where(rank_x < probes, gap_x, 9.0), np.where(rank_y < probes, gap_y, 9.0))
        margin = float(np.sort(needed)[len(needed) - 1 - allowed])
        if margin < 9:
            cost = float((rows * (gaps <= margin))[:, :probes].sum())
            options.append((cost, probes, margin + 1e-6))
    _, probes, margin = min(options)
    seen = ((rank_x < probes) & (gap_x <= margin)) | ((rank_y < probes) & (gap_y <= margin))
    return probes, margin, seen


def _doubling(most: int) -> list[int]:
    return [*(2**p for p in range(most.bit_length()) if 2**p < most), most]


def _distance(x: Floats, cell: Ints, c: Floats) -> tuple[Ints, Floats]:
    """How many cells are nearer to each row than `cell`, and by how much the nearest is."""
    ranks, gaps = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for at in range(0, len(x), BLOCK):
        products = torch.from_numpy(x[at : at + BLOCK]) @ torch.from_numpy(c).T
        own = products.gather(1, torch.from_numpy(cell[at : at + BLOCK])[:, None])
        ranks.append((products > own).sum(1).numpy())
        gaps.append((products.amax(1, keepdim=True) - own)[:, 0].numpy())
    return np.concatenate(ranks), np.concatenate(gaps)


def _looks(grid: Grid, queries: Floats) -> tuple[Floats, Floats]:
    """Of every query (Q, K): how far its cells are behind the nearest, nearest first, and the rows expected in each."""
    similarity, cell = (torch.from_numpy(queries) @ torch.from_numpy(grid.centroids).T).sort(dim=1, descending=True)
    return (similarity[:, :1] - similarity).numpy(), grid.sizes.astype(np.float32)[cell.numpy()]


def _sketched(grid: Grid, truth: Truth, sample: Floats) -> Grid:
    """The grid with as many of its axes as make looking cheapest: fewer cost less, and let more pairs through."""
    dim, options = grid.centroids.shape[1], [(1.0, 0, replace(grid, axes=grid.axes[:, :0]))]
    few, many = truth.queries[:512], sample[:32_768]
    home, (own, row, cell) = nearest(many, grid.centroids), look(few, grid)
    visits = np.zeros((len(few), len(grid.centroids)), bool)
    visits[row, cell] = visits[np.arange(len(few)), own] = True
    met = visits[:, home]  # (512, S): which of the sample each query would be held against
    for dims in (d for d in (32, 64, 96, 128, 192, 256, 384) if d <= grid.axes.shape[1]):
        short = replace(grid, axes=np.ascontiguousarray(grid.axes[:, :dims]))
        floor = float((sketch(truth.x, short) * sketch(truth.y, short)).sum(axis=1).min()) - MARGIN
        likely = sketch(few, short) @ sketch(many, short).T
        passing = float((likely[met] >= floor).mean()) if met.any() else 1.0
        options.append(((dims + 1) / dim + PRICE * passing, dims, replace(short, floor=floor)))
    return min(options, key=lambda option: option[:2])[2]
