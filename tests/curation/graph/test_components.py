"""Components against graphs small enough to see, and ids as numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from curation.graph.components import Keys, Labels, components, ids_of, in_blocks, keys_of, nodes_of


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
