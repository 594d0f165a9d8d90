"""How far a grid looks: what a sample asks for."""

from __future__ import annotations

import numpy as np
import pytest

from curation.graph import grid
from curation.graph.grid import Truth
from tests.curation.graph.drawn import THRESHOLD, by_cells, calibrated, clustered, exact


def test_a_sample_without_pairs_takes_the_default_and_says_so():
    x = np.eye(16, dtype=np.float32)
    g = calibrated(x, 4)
    assert (g.margin, g.levels) == (grid.UNKNOWN, ())
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
