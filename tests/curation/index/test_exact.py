"""Retrieval against numpy, over a base in several parts."""

from __future__ import annotations

import numpy as np
import pytest

from curation.index.exact import search
from tests.curation.making import unit_rows


def brute(queries, parts, k):
    flat = np.concatenate([v for _, v in parts])
    where = [(p, r) for p, v in parts for r in range(len(v))]
    order = np.argsort(-(queries @ flat.T), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(queries @ flat.T, order, axis=1), [[where[at] for at in row] for row in order]


@pytest.mark.parametrize("queries", [1, 50])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_equals_numpy(queries, k):
    q = unit_rows(queries, 8, 0)
    base = [(p, unit_rows(n, 8, p)) for p, n in ((2, 30), (3, 0), (7, 3), (9, 20))]
    similarity, parts, rows = search(q, iter(base), k)
    expected, where = brute(q, base, k)
    np.testing.assert_allclose(similarity, expected, atol=1e-6)
    assert [list(zip(p, r, strict=True)) for p, r in zip(parts.tolist(), rows.tolist(), strict=True)] == where
    assert np.all(np.diff(similarity, axis=1) <= 0)


def test_more_hits_than_rows_leaves_the_rest_missing():
    similarity, parts, rows = search(unit_rows(2, 4, 0), [(0, unit_rows(3, 4, 1)), (1, unit_rows(1, 4, 2))], 6)
    assert (parts >= 0).sum(axis=1).tolist() == [4, 4]
    assert parts[:, 4:].tolist() == rows[:, 4:].tolist() == [[-1, -1]] * 2
    assert np.all(similarity[:, 4:] == -np.inf)


def test_an_empty_base_has_no_hits():
    for base in ([], [(0, np.zeros((0, 4), np.float32))]):
        _, parts, _ = search(unit_rows(2, 4, 0), base, 3)
        assert np.all(parts == -1)


@pytest.mark.parametrize("queries", [1, 40])
@pytest.mark.parametrize("k", [3, 150])
def test_of_equal_similarities_the_earlier_parts_come_first(queries, k):
    q = np.repeat(unit_rows(1, 8, 0), queries, axis=0)
    same = np.repeat(unit_rows(1, 8, 1), 200, axis=0)
    first, second = (search(q, [(0, same[:2]), (1, same)], k) for _ in range(2))
    assert first[1].tolist() == [[0, 0, *[1] * (k - 2)]] * queries
    assert len({(p, r) for p, r in zip(first[1][0].tolist(), first[2][0].tolist(), strict=True)}) == k
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
