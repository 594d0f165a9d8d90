"""Grids, vectors and lists as tables: there and back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from curation import copy_records
from curation.graph.grid import Grid, Level
from curation.graph.tables import grid_table, packed, read_grid, unpacked


@pytest.mark.parametrize("levels", [(), (Level(2, 0.125), Level(3, 0.25))])
@pytest.mark.parametrize("recall", [0.5, float("nan")])
def test_a_grid_is_read_as_it_was_written(levels, recall):
    chance = np.random.default_rng(0)
    grid = Grid(
        centroids=chance.normal(size=(4, 2)).astype(np.float32),
        sizes=np.array([5, 0, 7, 1]),
        bunches=np.array([0, 0, 1, 1]),
        threshold=0.5,
        axes=chance.normal(size=(5, 3)).astype(np.float32),
        margin=0.25,
        levels=levels,
        recall=recall,
    )
    back = read_grid(grid_table(grid))
    assert back is not None
    for name in vars(grid):
        np.testing.assert_array_equal(getattr(back, name), getattr(grid, name))


def test_no_rows_are_no_grid():
    assert read_grid(copy_records.GRID.empty_table()) is None


def test_vectors_keep_their_bits_whole_sliced_and_in_chunks():
    values = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float16)
    column = pa.chunked_array([packed(values[:4]), packed(values[4:])])
    assert np.array_equal(unpacked(column).numpy(), values)
    assert np.array_equal(unpacked(column.slice(3, 2)).numpy(), values[3:5])
    assert unpacked(pa.chunked_array([], pa.binary())).shape == (0, 0)
