"""Pairs by cells and by Faiss against all pairs, on rows that make it easy and rows that do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from curation.graph import cells, grid
from curation.graph.cells import Rule, Work, across, pairs
from tests.curation.graph.drawn import THRESHOLD, by_cells, calibrated, clustered, exact, slice_of, unit


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
