"""Pairs against brute force; components against graphs small enough to see."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from curation.graph import exact
from curation.graph.components import Keys, Labels, components, ids_of, in_blocks, keys_of, nodes_of
from curation.graph.exact import pairs_above


def unit_rows(n: int, dim: int, seed: int) -> exact.Floats:
    x = np.random.default_rng(seed).normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


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


def test_components_of_a_small_graph():
    #  0-3-5   1   2-4
    a, b = np.array([3, 5, 4]), np.array([0, 3, 2])
    assert components(6, a, b).tolist() == [0, 1, 2, 0, 2, 0]


def test_components_without_edges_and_with_repeated_ones():
    none = np.zeros(0, np.int64)
    assert components(3, none, none).tolist() == [0, 1, 2]
    assert components(0, none, none).tolist() == []
    # many copies of one edge, and a loop
    assert components(3, np.array([0] * 300 + [1]), np.array([2] * 300 + [1])).tolist() == [0, 1, 0]


def test_a_chain_is_one_component():
    n = 1000
    order = np.random.default_rng(0).permutation(n)
    assert set(components(n, order[:-1], order[1:])) == {0}


@pytest.mark.parametrize("rows", [1, 7, 500])
def test_components_in_blocks_are_those_of_the_whole_in_any_order(rows):
    rng = np.random.default_rng(rows)
    a, b = rng.integers(0, 300, (2, 240))
    for order in (np.arange(240), rng.permutation(240)):
        labels = Labels(300)
        for at in range(0, 240, rows):
            labels.add(a[order[at : at + rows]], b[order[at : at + rows]])
        np.testing.assert_array_equal(labels.values, components(300, a, b))


def test_ids_are_numbered_in_their_order_even_if_they_share_their_first_half():
    ids = [f"{high:016x}{low:016x}" for high in (0, 7, 2**64 - 1) for low in (0, 3, 9, 2**64 - 1)]
    shuffled = np.random.default_rng(0).permutation(np.repeat(ids, 3)).tolist()
    blocks = [keys_of(pa.array(shuffled[at : at + 5])) for at in range(0, len(shuffled), 5)]
    nodes = nodes_of(blocks)
    assert ids_of(nodes).to_pylist() == sorted(ids)
    assert nodes.number(keys_of(pa.chunked_array([ids[:5], ids[5:]]))).tolist() == list(range(len(ids)))
    assert nodes.number(Keys(np.array([7, 1, 2**64 - 1], np.uint64), np.array([4, 0, 5], np.uint64))).tolist() == [-1] * 3
    assert ids_of(nodes_of([])).to_pylist() == []


@pytest.mark.parametrize("bad", ["abc", "g" * 32, "A" * 32, None])
def test_an_id_that_is_none_is_an_error(bad):
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        keys_of(pa.array([bad, "0" * 32], pa.string()))


def test_blocks_cut_and_put_together():
    tables = [pa.table({"x": pa.array(range(n), pa.int64())}) for n in (3, 0, 9, 1)]
    blocks = list(in_blocks(tables, 4))
    assert pa.concat_tables(blocks) == pa.concat_tables(tables)
    assert all(block.num_rows < 8 for block in blocks)
