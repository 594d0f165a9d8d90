"""Weights evened out over groups, and components of their own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from embedder.training.manifest import compact
from embedder.training.weighting import balanced, orders


def held(weight: list[float], cluster: list[str | None]):
    ids = [f"{number:032x}" for number in range(len(weight))]
    rows = pa.table({"image_id": ids, "uri": ["a"] * len(ids), "weight": weight, "cluster": cluster})
    return compact(iter(rows.to_batches()), "", ["cluster"])


def test_groups_get_equal_weight_and_keep_their_sum():
    manifest = held([1, 1, 1, 1, 2, 5], ["x", "x", "x", "x", "y", None])
    factors = balanced(manifest, "cluster")
    assert factors.tolist() == [0.75, 1.5, 1.0]  # 4 and 2 become 3 and 3
    order, rows = orders(manifest, "cluster", "", {}, 0)[None]
    assert rows is None
    assert np.diff(order.sums_R, prepend=0).tolist() == [0.75] * 4 + [3.0, 5.0]


def test_a_group_that_weighs_nothing_stays_out():
    assert balanced(held([0, 1, 3], ["x", "y", "z"]), "cluster").tolist() == [0.0, 2.0, pytest.approx(2 / 3), 1.0]


def test_a_component_has_an_order_of_its_rows():
    both = orders(held([1] * 5, ["x", "y", "x", None, "x"]), "", "cluster", {"x": 0.5}, 0)
    order, rows = both["x"]
    assert rows.tolist() == [0, 2, 4]
    assert (order.epoch, both[None][0].epoch) == (3, 5)
    assert order.key != both[None][0].key


def test_a_component_that_nobody_has_is_named():
    with pytest.raises(ValueError, match="no image has cluster 'q'; there are x, y"):
        orders(held([1, 1], ["x", "y"]), "", "cluster", {"q": 0.5}, 0)


def test_weights_of_nothing_are_refused():
    with pytest.raises(ValueError, match="all 0"):
        orders(held([0, 0], ["x", "y"]), "", "", {}, 0)
