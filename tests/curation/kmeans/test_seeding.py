"""Seeding: rows that are there, each once, far from one another."""

from __future__ import annotations

import numpy as np
import pytest

from curation import kmeans
from tests.curation.making import unit_rows


@pytest.mark.parametrize("seed", range(10))
def test_seeding_draws_distinct_rows(seed):
    alike = np.repeat(unit_rows(1, 7, seed), 6, axis=0)
    alike[:, 0] = np.arange(1, 7) * 1e-30  # too little to move a product, enough to tell the rows apart
    drawn = kmeans.plus_plus(alike, 6, np.random.default_rng(seed))
    assert sorted(drawn[:, 0].tolist()) == alike[:, 0].tolist()
    assert len(np.unique(kmeans.plus_plus(unit_rows(8, 4, 1), 8, np.random.default_rng(seed)), axis=0)) == 8


def test_far_bunches_each_get_a_centroid():
    rng = np.random.default_rng(0)
    x = np.repeat(100 * np.arange(8), 30)[:, None] + rng.normal(size=(240, 1))
    drawn = kmeans.plus_plus(x.astype(np.float32), 8, np.random.default_rng(1))
    assert sorted(np.round(drawn[:, 0] / 100).astype(int).tolist()) == list(range(8))


def test_better_than_rows_drawn_alike():
    x = unit_rows(3000, 4, 0) * np.where(np.arange(3000) < 2900, 1, 20)[:, None].astype(np.float32)
    better = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        starts = kmeans.plus_plus(x, 20, rng), x[rng.choice(3000, 20, replace=False)]
        ours, alike = (kmeans.fit(x, 20, 1, euclidean=True, start=start).objective[0] for start in starts)
        better += ours < alike
    assert better == 5


def test_too_few_rows_is_an_error():
    with pytest.raises(ValueError, match="4 clusters asked of 3 images"):
        kmeans.plus_plus(unit_rows(3, 4, 0), 4, np.random.default_rng(0))
