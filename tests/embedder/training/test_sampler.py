"""Sampler: every row in every epoch, as often as it weighs, for any number of processes."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.training.sampler import BLOCK, Order, mix, permuted


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 63, 64, 65, 1000, 4097])
def test_a_permutation_has_each_place_once(size):
    places = permuted(np.arange(size), size, 9)
    assert np.array_equal(np.sort(places), np.arange(size))
    assert np.array_equal(places[size // 2 :], permuted(np.arange(size // 2, size), size, 9))  # position by position


def test_permutations_are_unlike_each_other_and_the_identity():
    a, b = (permuted(np.arange(5000), 5000, key) for key in (1, 2))
    assert (a == b).mean() < 0.01
    assert (a == np.arange(5000)).mean() < 0.01
    assert abs(np.corrcoef(a, np.arange(5000))[0, 1]) < 0.05
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 0.05


def test_a_thousand_million_rows_need_no_table():
    order = Order(10**9, None, 0)
    rows = order.at(np.arange(10**9 - 50, 10**9 + 50))
    assert rows.min() >= 0
    assert rows.max() < 10**9
    assert len(set(rows.tolist())) >= 99


def test_each_epoch_has_each_row_in_another_order():
    order = Order(10, None, 4)
    first, second = order.at(np.arange(10)), order.at(np.arange(10, 20))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, order.at(np.arange(10), attempt=1))


def test_a_row_comes_as_often_as_it_weighs():
    weights = np.array([0.0, 1.0, 2.5, 0.25, 4.0, 0.25, 1.0, 1.0])
    order = Order(len(weights), np.cumsum(weights), 11)
    assert order.epoch == 10
    counts = np.array([np.bincount(order.at(np.arange(10) + 10 * epoch), minlength=8) for epoch in range(200)])
    assert ((counts >= np.floor(weights)) & (counts <= np.ceil(weights))).all()
    assert np.abs(counts.mean(axis=0) - weights).max() < 0.12


def test_shares_of_homogeneous_batches_hold_in_every_block():
    plan = mix({"b": 0.1, "a": 0.333}, 5)
    kinds = [plan.of(batch) for batch in range(2 * BLOCK)]
    for block in (kinds[:BLOCK], kinds[BLOCK:]):
        assert [sum(name == one for name, _ in block) for one in ("a", "b", None)] == [333, 100, 567]
    for one in ("a", "b", None):
        assert [before for name, before in kinds if name == one] == list(range(sum(name == one for name, _ in kinds)))
    assert [name for name, _ in kinds[:50]] != [name for name, _ in kinds[BLOCK : BLOCK + 50]]


@pytest.mark.parametrize("shares", [{"a": 0.0}, {"a": -0.1}, {"a": 0.7, "b": 0.4}, {"a": 1.5}])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(ValueError, match="homogeneous"):
        mix(shares, 0)


def test_without_shares_every_batch_holds_everything():
    assert mix({}, 0).of(17) == (None, 17)
    assert {mix({"a": 1.0}, 0).of(batch)[0] for batch in range(20)} == {"a"}
