"""Pairs against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from curation.graph import exact
from curation.graph.components import components
from curation.graph.exact import pairs_above
from tests.curation.making import unit_rows


def found(x, y, threshold, k, same) -> set[tuple[int, int]]:
    i, j, similarity = pairs_above(x, y, threshold, k, same)
    np.testing.assert_allclose(similarity, (x[i] * y[j]).sum(axis=1), atol=1e-6)
    pairs = list(zip(i.tolist(), j.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    return set(pairs)


@pytest.mark.parametrize("block", [1, 7, 16, 40, 100])
@pytest.mark.parametrize("threshold", [0.4, 0.0, -0.5])
def test_equals_brute_force_whatever_the_block(block, threshold, monkeypatch):
    monkeypatch.setattr(exact, "BLOCK", block)
    x, y = unit_rows(40, 8, 1), unit_rows(33, 8, 2)
    expected = np.argwhere(x.astype(np.float64) @ y.T >= threshold)
    assert found(x, y, threshold, 64, same=False) == set(map(tuple, expected.tolist()))
    expected = np.argwhere(np.triu(x.astype(np.float64) @ x.T + 10, 1) >= threshold + 10)
    assert found(x, x, threshold, 64, same=True) == set(map(tuple, expected.tolist()))


def test_of_too_many_pairs_the_nearest_k_stay():
    x, y = unit_rows(5, 4, 3), unit_rows(30, 4, 4)
    nearest = np.argsort(-(x @ y.T), axis=1)[:, :3]
    assert found(x, y, -1.0, 3, same=False) == {(i, int(j)) for i, row in enumerate(nearest) for j in row}


@pytest.mark.parametrize("same", [True, False])
def test_equal_similarities_do_not_exceed_k(same):
    x = np.tile(np.array([[1.0, 0.0]], np.float32), (10, 1))
    i, _, _ = pairs_above(x, x, 0.9, 4, same)
    assert np.bincount(i).max() == 4
    a, b, _ = pairs_above(x, x, 0.9, 4, True)
    assert set(components(10, a, b)) == {0}


def test_nothing_to_compare_gives_no_pairs():
    none = np.zeros((0, 4), np.float32)
    for x, y in ((none, none), (unit_rows(3, 4, 0), none), (none, unit_rows(3, 4, 0))):
        assert found(x, y, 0.5, 4, same=False) == set()
