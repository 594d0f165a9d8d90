"""Clustered unit rows, and a grid set for them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch

from curation.graph import grid
from curation.graph.cells import Rule, Slice, Work, pairs, visits
from curation.graph.exact import pairs_above
from curation.graph.grid import Grid

THRESHOLD = 0.7


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


def clustered(n: int, dim: int, seed: int):
    """Rows about a few centres, a third of them copies of others at cosines of 0.5 to 1."""
    rng = np.random.default_rng(seed)
    base = unit(rng.normal(size=(n, dim)) + 1.2 * rng.normal(size=(n // 20 + 1, dim))[rng.integers(n // 20 + 1, size=n)])
    copies = rng.integers(n, size=n // 3)
    s = rng.uniform(0.5, 1.0, (len(copies), 1))
    base[rng.permutation(n)[: len(copies)]] = s * base[copies] + np.sqrt(1 - s**2) * unit(rng.normal(size=(len(copies), dim)))
    return unit(base)


def calibrated(x, k: int, target: float = 0.9995) -> Grid:
    places = np.stack([np.zeros(len(x), np.int64), np.arange(len(x))], axis=1)
    return grid.calibrate(cut(x, k), grid.true_pairs(x, places, [(0, x)], THRESHOLD, 0), x, target)


def cut(x, k: int) -> Grid:
    """k cells, all axes and no settings yet."""
    axes = grid.axes(x)
    heads = grid.along(x, axes)
    places = grid.places(heads, grid.reach(heads))
    centroids = grid.centroids(places, k, 4, 0)
    sizes = np.bincount(grid.nearest(places, centroids)[0], minlength=k)
    return Grid(centroids=centroids, sizes=sizes, bunches=np.zeros(k, np.int64), threshold=THRESHOLD, axes=axes)


def exact(x, k: int = 0) -> set[tuple[int, int]]:
    x = x / np.linalg.norm(x, axis=1, keepdims=True)  # rounded to float16, they are no longer quite of unit length
    i, j, _ = pairs_above(x, x, THRESHOLD, k or len(x), True)
    return set(zip(i.tolist(), j.tolist(), strict=True))


def slice_of(x, g: Grid) -> tuple[Slice, np.ndarray]:
    """All rows as one slice, and which row of x is where."""
    heads = grid.along(x, g.axes)
    places = grid.places(heads, g.centroids.shape[1])
    home, near = grid.nearest(places, g.centroids)
    order = np.argsort(home, kind="stable")
    sketches = [torch.from_numpy(grid.sketch(heads[order], level, g.threshold)) for level in g.levels]
    vectors = torch.from_numpy(x[order].astype(np.float16))
    return Slice(pa.array(map(str, order)), home[order], near[order], places[order], vectors, sketches), order


def by_cells(x, g: Grid, k: int = 0) -> tuple[set[tuple[int, int]], Work]:
    rows, order = slice_of(x, g)
    work = Work()
    i, j, similarity = pairs(rows, rows, visits(rows, 0, len(g.centroids) - 1, g, work), Rule(g, k), work)
    np.testing.assert_allclose(similarity, (x[order[i]] * x[order[j]]).sum(axis=1), atol=2e-3)
    found = [tuple(sorted(pair)) for pair in zip(order[i].tolist(), order[j].tolist(), strict=True)]
    assert len(set(found)) == len(found)
    return set(found), work
