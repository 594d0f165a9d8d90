"""Pairs by cells and by Faiss against all pairs, on rows that make it easy and rows that do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from curation.graph import cells, grid
from curation.graph.cells import Rule, Work, across, pairs, visits
from tests.curation.graph.drawn import THRESHOLD, by_cells, calibrated, clustered, cut, exact, slice_of, unit


def test_what_a_sample_asks_for_is_found_in_all():
    x = clustered(4000, 48, 0)
    few = np.sort(np.random.default_rng(1).permutation(len(x))[:1500])
    places = np.stack([np.zeros(len(few), np.int64), few], axis=1)
    g = grid.calibrate(cut(x, 128), grid.true_pairs(x[few], places, [(0, x)], THRESHOLD, 0), x[::3], 0.999)
    found, work = by_cells(x, g)
    truth = exact(x)
    assert len(truth) > 1000
    assert found <= truth
    assert len(found) >= 0.995 * len(truth)
    assert g.recall >= 0.999
    assert work.met < len(x) ** 2 / 3
    assert work.adds < len(x) ** 2 / 2 * 48


@pytest.mark.parametrize("crowded", [0.0, 1.0])
@pytest.mark.parametrize("block", [3, 50])
def test_every_cell_visited_is_every_pair(block, crowded, monkeypatch):
    monkeypatch.setattr(cells, "BLOCK", block)
    monkeypatch.setattr(cells, "CELLS", 5)
    monkeypatch.setattr(cells, "CROWDED", crowded)
    x = clustered(120, 16, 2)
    g = replace(calibrated(x, 12), margin=9.0)
    assert by_cells(x, g)[0] == exact(x)
    assert by_cells(x, replace(g, levels=()))[0] == exact(x)


def test_slices_of_a_bunch_meet_once():
    x = clustered(300, 16, 3)
    g = replace(calibrated(x, 9), margin=9.0)
    halves, rule, found = [slice_of(x[:140], g), slice_of(x[140:], g)], Rule(g, 0), []
    shifted = [(rows, order + start) for (rows, order), start in zip(halves, (0, 140), strict=True)]
    for a, (one, first) in enumerate(shifted):
        for b, (other, second) in enumerate(shifted):
            seen = visits(one, 0, 8, g, Work())
            met = [pairs(one, one if a == b else other, seen, rule, Work())] + (
                [across(one, other, rule, Work())] if a < b else []
            )
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


def test_what_single_precision_leaves_open_is_the_same_in_any_company():
    x = clustered(200, 16, 4)
    g = calibrated(x, 10)
    rows, _ = slice_of(x, g)
    gap = float(rows.near[7] - rows.places[7] @ g.centroids[(rows.home[7] + 1) % 10])
    edge = replace(g, margin=gap)  # row 7 looks into the next cell, or does not, by the last bit
    seen = visits(rows, 0, 9, edge, Work())
    for cell in range(10):
        others = np.flatnonzero(rows.home != cell)
        assert np.array_equal(seen.rows[cell][others], cells._looks(rows, others, np.full(len(others), cell), edge))
