"""Greedy k-means++: which rows are drawn, and that it begins closer to the end than plain k-means++."""

from __future__ import annotations

import numpy as np
import pytest

from curation.kmeans.greedy import greedy_plus_plus
from curation.kmeans.seeding import plus_plus
from tests.curation.making import unit_rows


def spread(x: np.ndarray, centroids: np.ndarray) -> float:
    return float(((x[:, None].astype(np.float64) - centroids[None]) ** 2).sum(2).min(1).sum())


def test_every_heap_gets_one():
    heaps = np.array([[0, 0], [50, 0], [0, 50], [50, 50]], np.float32)
    x = np.repeat(heaps, 25, axis=0) + np.random.default_rng(0).normal(scale=0.01, size=(100, 2)).astype(np.float32)
    found = greedy_plus_plus(x, 4, np.random.default_rng(1))
    assert sorted(np.round(found / 50).astype(int).tolist()) == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_as_many_as_there_are_rows_are_all_of_them():
    x = unit_rows(30, 5, 0)
    found = greedy_plus_plus(x, 30, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(x, axis=0))


def test_starts_lower_than_one_draw_a_step():
    x = unit_rows(1000, 3, 1)
    pairs = [(spread(x, f(x, 40, np.random.default_rng(s))) for f in (greedy_plus_plus, plus_plus)) for s in range(5)]
    assert all(greedy < plain for greedy, plain in pairs)


def test_equal_rows():
    assert len(greedy_plus_plus(np.ones((9, 2), np.float32), 3, np.random.default_rng(0))) == 3


def test_too_few_rows():
    with pytest.raises(ValueError, match="3 clusters asked of 2 rows"):
        greedy_plus_plus(unit_rows(2, 2, 0), 3, np.random.default_rng(0))
