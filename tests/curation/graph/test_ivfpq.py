"""Faiss that searches every list, against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from curation.graph.ivfpq import Index, Lists
from tests.curation.graph.drawn import THRESHOLD, clustered, exact, unit


@pytest.mark.parametrize("bytes_per_row", [0, 8])
def test_faiss_that_searches_every_list_finds_what_it_is_asked_for(bytes_per_row):
    x = clustered(1200, 32, 5)
    index = Index(x, Lists(lists=16, probes=16, bytes_per_row=bytes_per_row))
    i, j, similarity = index.pairs_above(x, THRESHOLD, 64, True)
    found, truth = set(zip(i.tolist(), j.tolist(), strict=True)), exact(x)
    np.testing.assert_allclose(similarity, (x[i] * x[j]).sum(axis=1), atol=1e-6)
    assert found <= truth
    assert len(found) == len(i)
    assert len(found) >= (1.0 if not bytes_per_row else 0.9) * len(truth)


def test_faiss_without_rows():
    none, x = np.zeros((0, 8), np.float32), unit(np.ones((3, 8)))
    assert [len(Index(y, Lists()).pairs_above(q, 0.5, 4, False)[0]) for q, y in ((x, none), (none, x), (none, none))] == [
        0,
        0,
        0,
    ]
    assert len(Index(x, Lists()).pairs_above(x, 0.5, 4, True)[0]) == 3
