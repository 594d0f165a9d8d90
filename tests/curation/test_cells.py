"""Pairs by cells and by Faiss against all pairs, on rows that make it easy and rows that do not."""

from __future__ import annotations

from dataclasses import replace

import faiss
import numpy as np
import pyarrow as pa
import pytest
import torch

from curation.graph import cells, grid
from curation.graph.cells import Rule, Slice, Work, across, look_key, pairs
from curation.graph.exact import pairs_above
from curation.graph.grid import Grid, Truth
from curation.graph.ivfpq import Index, Lists

THRESHOLD = 0.7


@pytest.fixture(autouse=True)
def one_thread():
    """As in a worker: quicker than two for small rows, and far quicker where other work has the cores."""
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    faiss.omp_set_num_threads(before[1])


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
    centroids = grid.centroids(x, k, 4, 0)
    sizes = np.bincount(grid.nearest(x, centroids), minlength=k)
    base = Grid(
        centroids=centroids, sizes=sizes, bunches=np.zeros(k, np.int64), threshold=THRESHOLD, axes=grid.axes(x, x.shape[1])
    )
    places = np.stack([np.zeros(len(x), np.int64), np.arange(len(x))], axis=1)
    return grid.calibrate(base, grid.true_pairs(x, places, [(0, x)], THRESHOLD, 0), x, target)


def slice_of(x, g: Grid) -> tuple[Slice, np.ndarray]:
    """All rows as one slice, and which row of x is where."""
    home, row, cell = grid.look(x, g)
    order = np.argsort(home, kind="stable")
    place = np.argsort(order)
    sketches = grid.sketch(x, g)[order] if g.axes.shape[1] else np.zeros((len(x), 0))
    halves = (torch.from_numpy(v.astype(np.float16)) for v in (x[order], sketches))
    return Slice(pa.array(map(str, order)), home[order], *halves, np.sort(look_key(place[row], cell))), order


def exact(x, k: int = 0) -> set[tuple[int, int]]:
    x = x / np.linalg.norm(x, axis=1, keepdims=True)  # rounded to float16, they are no longer quite of unit length
    i, j, _ = pairs_above(x, x, THRESHOLD, k or len(x), True)
    return set(zip(i.tolist(), j.tolist(), strict=True))


def by_cells(x, g: Grid, k: int = 0) -> tuple[set[tuple[int, int]], Work]:
    rows, order = slice_of(x, g)
    work = Work()
    i, j, similarity = pairs(rows, rows, Rule(THRESHOLD, g.floor, k), work)
    np.testing.assert_allclose(similarity, (x[order[i]] * x[order[j]]).sum(axis=1), atol=2e-3)
    found = [tuple(sorted(pair)) for pair in zip(order[i].tolist(), order[j].tolist(), strict=True)]
    assert len(set(found)) == len(found)
    return set(found), work


def test_what_a_sample_asks_for_is_found_in_all():
    x = clustered(4000, 48, 0)
    few = np.sort(np.random.default_rng(1).permutation(len(x))[:1500])
    g = calibrated(x, 128)
    base = replace(g, axes=grid.axes(x, 48), floor=-2.0)
    places = np.stack([np.zeros(len(few), np.int64), few], axis=1)
    g = grid.calibrate(base, grid.true_pairs(x[few], places, [(0, x)], THRESHOLD, 0), x[::3], 0.999)
    found, work = by_cells(x, g)
    truth = exact(x)
    assert len(truth) > 1000
    assert found <= truth
    assert len(found) >= 0.995 * len(truth)
    assert g.recall >= 0.999
    assert work.sketched < len(x) ** 2 / 4
    assert work.looked <= work.sketched


@pytest.mark.parametrize("crowded", [0.0, 1.0])
@pytest.mark.parametrize("block", [3, 50])
def test_every_cell_visited_is_every_pair(block, crowded, monkeypatch):
    monkeypatch.setattr(cells, "BLOCK", block)
    monkeypatch.setattr(cells, "CROWDED", crowded)
    x = clustered(120, 16, 2)
    g = replace(calibrated(x, 12), probes=12, margin=9.0)
    assert by_cells(x, g)[0] == exact(x)
    assert by_cells(x, replace(g, axes=g.axes[:, :0], floor=-2.0))[0] == exact(x)


def test_slices_of_a_bunch_meet_once():
    x = clustered(300, 16, 3)
    g = replace(calibrated(x, 9), probes=9, margin=9.0)
    halves, rule, found = [slice_of(x[:140], g), slice_of(x[140:], g)], Rule(THRESHOLD, g.floor, 0), []
    shifted = [(rows, order + start) for (rows, order), start in zip(halves, (0, 140), strict=True)]
    for a, (one, first) in enumerate(shifted):
        for b, (other, second) in enumerate(shifted):
            met = [pairs(one, one if a == b else other, rule, Work())] + ([across(one, other, rule, Work())] if a < b else [])
            for i, j, _ in met:
                found += [tuple(sorted(p)) for p in zip(first[i].tolist(), second[j].tolist(), strict=True)]
    assert len(found) == len(set(found))
    assert set(found) == exact(x)


def test_equal_rows_are_tied_and_do_not_exceed_k():
    x = np.tile(unit(np.ones((1, 8))), (500, 1))
    found, _ = by_cells(x, calibrated(x, 20), k=5)
    assert np.bincount([i for i, _ in found]).max() <= 5
    reached, waiting = {0}, [0]
    ties = {n: {a + b - n for a, b in found if n in (a, b)} for n in range(500)}
    while waiting:
        new = ties[waiting.pop()] - reached
        reached |= new
        waiting += new
    assert len(reached) == 500


def test_of_a_crowded_cell_the_nearest_k_stay():
    kept = cells._nearest(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1]), np.array([0.7, 0.9, 0.8, 0.7, 0.7]), 2)
    assert kept.tolist() == [1, 2, 3, 4]


def test_a_sample_without_pairs_takes_the_default_and_says_so():
    x = np.eye(16, dtype=np.float32)
    g = calibrated(x, 4)
    assert (g.probes, g.axes.shape[1], g.floor) == (4, 0, -2.0)
    assert np.isnan(g.recall)
    assert by_cells(x, g)[0] == set()


def test_true_pairs_are_exact_and_bounded(monkeypatch):
    x = clustered(400, 16, 4)
    places = np.stack([np.repeat([0, 1], 200), np.tile(np.arange(200), 2)], axis=1)
    truth: Truth = grid.true_pairs(x, places, [(0, x[:200]), (1, x[200:])], THRESHOLD, 0)
    assert len(truth.x) == 2 * len(exact(x))
    assert ((truth.x * truth.y).sum(axis=1) >= THRESHOLD - 1e-5).all()
    monkeypatch.setattr(grid, "PAIRS", 10)
    assert len(grid.true_pairs(x, places, [(0, x[:200]), (1, x[200:])], THRESHOLD, 0).x) == 10


def test_more_cells_than_rows_is_refused():
    with pytest.raises(ValueError, match="3 cells asked of 2 rows"):
        grid.centroids(np.eye(2, dtype=np.float32), 3, 1, 0)


@pytest.mark.parametrize("bytes_per_row", [0, 8])
def test_faiss_that_searches_every_list_finds_what_it_is_asked_for(bytes_per_row):
    x = clustered(1200, 32, 5)
    index = Index(x, Lists(lists=16, probes=16, bytes_per_row=bytes_per_row))
    i, j, similarity = index.pairs_above(x, THRESHOLD, 64, True)
    found, truth = set(zip(i.tolist(), j.tolist(), strict=True)), exact(x)
    np.testing.assert_allclose(similarity, (x[i] * x[j]).sum(axis=1), atol=1e-6)
    assert found <= truth
    assert len(found) == len(i)
    assert len(found) >= (1.0 if not bytes_per_row else 0.9) * len(truth)


def test_faiss_without_rows():
    none, x = np.zeros((0, 8), np.float32), unit(np.ones((3, 8)))
    assert [len(Index(y, Lists()).pairs_above(q, 0.5, 4, False)[0]) for q, y in ((x, none), (none, x), (none, none))] == [
        0,
        0,
        0,
    ]
    assert len(Index(x, Lists()).pairs_above(x, 0.5, 4, True)[0]) == 3
