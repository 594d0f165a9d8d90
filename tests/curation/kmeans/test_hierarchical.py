"""Hierarchical k-means: levels meet, resampling evens out, the two stages cover what one does."""

from __future__ import annotations

import numpy as np
import pytest

from curation.kmeans.hierarchical import Level, LevelPlan, fit_levels, level_plans, nearest_rows
from tests.curation.making import unit_rows


def uneven(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows on a line: 5000 in [0, 1], 100 in each of [1, 2], [2, 3], ... [9, 10]."""
    rng = np.random.default_rng(seed)
    bins = np.repeat(np.arange(10), [5000, *[100] * 9])
    return (bins + rng.random(len(bins)))[:, None].astype(np.float32), bins


def test_levels_meet():
    x = unit_rows(600, 8, 0)
    levels = fit_levels(x, [LevelPlan(k=60), LevelPlan(k=12), LevelPlan(k=3)], 20)
    for below, level in zip([x, *(one.centroids for one in levels)], levels, strict=False):
        assert len(level.labels) == len(below)
        assert level.sizes.tolist() == np.bincount(level.labels).tolist()
        assert level.sizes.min() > 0
        gaps = ((below[:, None].astype(np.float64) - level.centroids[None]) ** 2).sum(2)
        np.testing.assert_allclose(gaps[np.arange(len(below)), level.labels], gaps.min(1), atol=1e-5)
    assert [len(level.centroids) for level in levels] == [60, 12, 3]


@pytest.mark.parametrize("seed", range(3))
def test_resampling_spreads_centroids_evenly(seed):
    x, _ = uneven(seed)
    (plain,) = fit_levels(x, [LevelPlan(k=40)], 30, seed)
    (even,) = fit_levels(x, [LevelPlan(k=40, rounds=8, nearest=10)], 30, seed)
    dense = [int((level.centroids < 1).sum()) for level in (plain, even)]
    assert dense[1] < dense[0]
    assert dense[1] <= 8  # even: 4


def test_plans_take_half_of_what_clusters_hold():
    """The sizes that the reference's own configurations name."""
    web = level_plans(10_000_000, (500_000, 50_000, 10_000), 10)
    assert [(plan.k, plan.nearest, plan.rounds) for plan in web] == [(500_000, 10, 10), (50_000, 5, 10), (10_000, 3, 10)]
    assert [plan.nearest for plan in level_plans(29_700, (1000, 300), 10)] == [15, 2]
    assert [plan.nearest for plan in level_plans(8, (8, 4), 10)] == [1, 1]


def test_nothing_is_resampled_where_one_row_of_each_would_be_taken():
    x = unit_rows(200, 4, 2)
    plain, none = (fit_levels(x, [LevelPlan(k=20, rounds=rounds)], 20)[0] for rounds in (0, 3))
    np.testing.assert_array_equal(plain.centroids, none.centroids)


def test_nearest_rows_by_hand():
    points = np.array([[0], [1], [2], [10], [14]], np.float32)
    level = Level(np.array([[1.2], [11]], np.float32), np.array([0, 0, 0, 1, 1]), np.array([3, 2]))
    assert nearest_rows(points, level, 1).tolist() == [1, 3]
    assert nearest_rows(points, level, 2).tolist() == [1, 2, 3, 4]
    assert nearest_rows(points, level, 9).tolist() == [0, 1, 2, 3, 4]


def test_what_cannot_be_is_an_error():
    with pytest.raises(ValueError, match="level 2: 9 clusters asked of 8 points"):
        fit_levels(unit_rows(20, 4, 0), [LevelPlan(k=8), LevelPlan(k=9)])
    with pytest.raises(ValueError, match="1 cluster or more"):
        LevelPlan(k=0)
