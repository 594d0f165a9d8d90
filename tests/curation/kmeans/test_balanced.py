"""Balanced sampling by hand: caps, what is left over, repeats, trees."""

from __future__ import annotations

import numpy as np
import pytest

from curation.kmeans.balanced import Draw, balanced_sample, leaf_budgets, shares


@pytest.mark.parametrize(
    ("most", "budget", "expected"),
    [
        ([10, 10], 6, [3, 3]),
        ([1, 10], 6, [1, 5]),
        ([1, 2, 10, 10], 9, [1, 2, 3, 3]),
        ([3, 4], 7, [3, 4]),
        ([3, 4], 99, [3, 4]),
        ([0, 5], 2, [0, 2]),
        ([4, 4], 0, [0, 0]),
        ([], 3, []),
    ],
)
def test_shares_by_hand(most, budget, expected):
    assert shares(np.array(most, np.int64), budget, np.random.default_rng(0)).tolist() == expected


def test_what_is_left_over_goes_to_those_who_have_more():
    most, drawn = np.array([1, 5, 5, 5]), set()
    for seed in range(20):
        given = shares(most, 8, np.random.default_rng(seed))
        assert given.sum() == 8
        assert given[0] == 1
        assert sorted(given[1:].tolist()) == [2, 2, 3]
        drawn.add(tuple(given.tolist()))
    assert len(drawn) == 3


def test_flat():
    labels = np.repeat([0, 1, 2], [100, 10, 2]).astype(np.int64)
    rows, times = balanced_sample([], labels, 22, 0)
    assert np.bincount(labels[rows]).tolist() == [10, 10, 2]
    assert times.tolist() == [1] * 22
    assert rows.tolist() == sorted(set(rows.tolist()))


def test_a_tree_shares_at_every_node():
    labels = np.repeat([0, 1, 2], [50, 50, 50]).astype(np.int64)
    tree = [np.array([0, 0, 1], np.int64)]  # clusters 0 and 1 are one concept, 2 another
    rows, _ = balanced_sample(tree, labels, 60, 1)
    assert np.bincount(labels[rows]).tolist() == [15, 15, 30]
    top = [*tree, np.array([0, 0], np.int64)]
    assert balanced_sample(top, labels, 60, 1)[0].tolist() == rows.tolist()


def test_repeats():
    labels = np.array([0] * 50 + [1] * 2, np.int64)
    rows, times = balanced_sample([], labels, 20, 0, repeats=3)
    assert times[labels[rows] == 1].tolist() == [3, 3]
    assert times[labels[rows] == 0].tolist() == [1] * 14
    rows, times = balanced_sample([], labels, 10_000, 0, repeats=3)
    assert times.tolist() == [3] * 52


def test_rows_that_come_in_parts():
    rng = np.random.default_rng(0)
    clusters, ranks = np.repeat([0, 1, 2, 3], [60, 5, 0, 35]), rng.permutation(100).astype(np.uint64)
    counts = np.bincount(clusters)
    budgets = np.array([7, 13, 0, 0])
    draw = Draw(budgets, counts)
    order = rng.permutation(100)
    for part in np.array_split(order, 9):
        draw.add(clusters[part], ranks[part])
        assert sum(map(len, draw.ranks)) <= 2 * (7 + 3)
    times = draw.times(clusters, ranks, draw.limits())
    assert np.bincount(clusters, times).tolist() == budgets.tolist()
    assert set(ranks[:60][times[:60] == 1]) == set(np.sort(ranks[:60])[:7])
    assert sorted(times[60:65].tolist()) == [2, 2, 3, 3, 3]  # 13 of 5 rows


def test_no_rows_to_draw():
    none = np.zeros(2, np.int64)
    draw = Draw(none, none)
    assert draw.times(np.array([0, 1]), np.array([0, 1], np.uint64), draw.limits()).tolist() == [0, 0]


def test_budgets_of_a_tree_by_hand():
    parents, counts = [np.array([0, 0, 1, 1])], np.array([50, 1, 10, 10])
    assert leaf_budgets(parents, counts, 20, np.random.default_rng(0)).tolist() == [9, 1, 5, 5]
    assert leaf_budgets(parents, counts, 20, np.random.default_rng(0), repeats=4).tolist() == [6, 4, 5, 5]


def test_same_seed_same_rows():
    labels = np.repeat(np.arange(4), 100)
    first = balanced_sample([], labels, 40, 3)[0].tolist()
    assert balanced_sample([], labels, 40, 3)[0].tolist() == first
    assert balanced_sample([], labels, 40, 4)[0].tolist() != first


def test_no_rows():
    rows, times = balanced_sample([], np.zeros(0, np.int64), 5, 0)
    assert (len(rows), len(times)) == (0, 0)


def test_what_cannot_be_is_an_error():
    labels = np.array([0, 3], np.int64)
    with pytest.raises(ValueError, match="level 0: a cluster is none of the 2"):
        balanced_sample([np.array([0, 0], np.int64)], labels, 1, 0)
    with pytest.raises(ValueError, match="not -1 and 1"):
        balanced_sample([], labels, -1, 0)
    with pytest.raises(ValueError, match="not 1 and 0"):
        balanced_sample([], labels, 1, 0, repeats=0)
