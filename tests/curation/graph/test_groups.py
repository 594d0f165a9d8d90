"""Groups of a chain: whole, split at its representative, and how near each image is to that."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from curation.graph.groups import Block, direct, grouped, split

CHAIN = [(0, 1, 0.9), (1, 2, 0.8), (2, 3, 0.7)]  # 0 - 1 - 2 - 3, and 4 alone
BEST_FIRST = np.array([1, 0, 2, 3, 4])  # image 1 ranks first


def one_by_one(edges) -> Iterator[Block]:
    for a, b, similarity in edges:
        yield np.array([a]), np.array([b]), np.array([similarity], np.float32)


@pytest.mark.parametrize("edges", [CHAIN, CHAIN[::-1], [(b, a, s) for a, b, s in CHAIN]], ids=["rising", "falling", "turned"])
def test_a_chain_whole_and_split(edges):
    kept = grouped(5, lambda: one_by_one(edges), BEST_FIRST)
    assert kept.tolist() == [1, 1, 1, 1, 4]
    assert direct(5, lambda: one_by_one(edges), kept).tolist() == pytest.approx([0.9, -2, 0.8, -2, -2])
    parted = split(5, lambda: one_by_one(edges), BEST_FIRST)
    assert parted.tolist() == [1, 1, 1, 3, 4]  # 3 has no edge to 1, and stands alone
    assert direct(5, lambda: one_by_one(edges), parted).tolist() == pytest.approx([0.9, -2, 0.8, -2, -2])


def test_without_edges_everyone_stands_for_himself():
    for way in (grouped, split):
        assert way(3, lambda: iter(()), np.arange(3)).tolist() == [0, 1, 2]
        assert way(0, lambda: iter(()), np.arange(0)).tolist() == []
