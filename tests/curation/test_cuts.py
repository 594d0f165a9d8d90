"""Cutting clusters: which are cut together, and into what."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curation import cuts
from curation.store import vector_array
from tests.curation.making import unit_rows

AXES = np.eye(3, dtype=np.float32)


def homes(store, *parts):
    """Rows (N, 3) by part, sorted to the nearest of three axes."""
    kind = pa.list_(pa.float16(), 3)
    for number, rows in enumerate(parts):
        vectors = pa.chunked_array([vector_array(np.asarray(rows, np.float32), kind)])
        store.write_part("homes", number, cuts.homes(vectors, AXES), "p")
    return store.parts("homes")


def test_rows_lie_together_by_cluster(store):
    found = homes(store, [[0, 0, 1], [1, 0, 0], [0, 1, 0.1], [1, 0.1, 0]])
    assert found.part(0)["home"].to_pylist() == [0, 0, 1, 2]
    assert found.part(0)["vector"].to_pylist()[0] == [1, 0, 0]  # the earlier of two


def test_a_part_without_rows_and_a_cluster_without_any(store):
    found = homes(store, np.zeros((0, 3)), [[1, 0, 0], [0, 0, 1], [0, 0.1, 1]])
    assert cuts.ends(found).tolist() == [3]
    table = cuts.cut(found, 0, 3, 5, 10, 0, 0.0)
    assert table["images"].to_pylist() == [1, 1, 1]  # a small cluster is cut into its rows


def test_lots_end_between_clusters(store, monkeypatch):
    found = homes(store, [AXES[0]] * 5 + [AXES[1]] * 5, [AXES[2]] * 5)
    for rows, ends in ((1000, [3]), (10, [2, 3]), (5, [1, 2, 3]), (1, [1, 2, 3])):
        monkeypatch.setattr(cuts, "LOT_ROWS", rows)
        assert cuts.ends(found).tolist() == ends
    assert cuts.ends(homes(store, np.zeros((0, 3)), np.zeros((0, 3)))).tolist() == []


def test_lots_together_are_all_at_once(store):
    x = np.abs(unit_rows(120, 3, 0))
    found = homes(store, x[:50], x[50:])
    whole = cuts.cut(found, 0, 3, 4, 10, 0, 0.0)
    apart = [cuts.cut(found, n, n + 1, 4, 10, 0, 0.0) for n in range(3)]
    assert whole["centroid"].to_pylist() == pa.concat_tables(apart)["centroid"].to_pylist()
    assert whole.num_rows == 12
    assert sum(whole["images"].to_pylist()) == 120
