"""Spherical k-means: it finds what is there, says when it cannot, and says the same twice."""

from __future__ import annotations

import numpy as np
import pytest

from curation import kmeans
from tests.curation.making import unit_rows


def blobs(per: int, seed: int = 0) -> tuple[kmeans.Floats, kmeans.Ints]:
    """Three tight bunches of `per` unit vectors around the axes, mixed, and which is which."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(3), per))
    x = np.eye(3)[truth] + rng.normal(scale=0.05, size=(3 * per, 3))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), truth


@pytest.mark.parametrize("seed", range(5))
def test_separated_blobs_are_found(seed):
    x, truth = blobs(50)
    fit = kmeans.fit(x, 3, 20, seed)
    labels, _ = kmeans.assign(x, fit.centroids)
    assert len(set(zip(truth.tolist(), labels.tolist(), strict=True))) == 3
    assert fit.sizes.tolist() == [50, 50, 50]
    np.testing.assert_allclose(np.sort(fit.centroids.max(axis=1)), 1, atol=0.01)


def test_same_seed_same_bytes_whatever_the_block(monkeypatch):
    x = unit_rows(200, 8, 1)
    first = kmeans.fit(x, 7, 10, 3)
    assert first.centroids.tobytes() == kmeans.fit(x, 7, 10, 3).centroids.tobytes()
    assert first.centroids.tobytes() != kmeans.fit(x, 7, 10, 4).centroids.tobytes()
    monkeypatch.setattr(kmeans, "BLOCK", 13)
    np.testing.assert_allclose(kmeans.fit(x, 7, 10, 3).centroids, first.centroids, atol=1e-6)


@pytest.mark.parametrize("k", [1, 5, 40])
def test_objective_never_falls(k):
    fit = kmeans.fit(unit_rows(400, 6, 2), k, 30, 0, tolerance=0.0)
    assert len(fit.objective) > 1
    assert np.all(np.diff(fit.objective) >= -1e-6)
    assert fit.sizes.sum() == 400


def test_assign_equals_numpy_and_ties_go_to_the_lower_number(monkeypatch):
    x, c = unit_rows(50, 5, 3), unit_rows(9, 5, 4)
    monkeypatch.setattr(kmeans, "BLOCK", 8)
    labels, best = kmeans.assign(x, c)
    assert labels.tolist() == (x @ c.T).argmax(axis=1).tolist()
    np.testing.assert_allclose(best, (x @ c.T).max(axis=1), atol=1e-6)
    labels, _ = kmeans.assign(x, np.repeat(c[:1], 3, axis=0))
    assert set(labels.tolist()) == {0}


def test_more_clusters_than_images_is_an_error():
    with pytest.raises(ValueError, match="4 clusters asked of 3 images"):
        kmeans.fit(unit_rows(3, 4, 0), 4, 5, 0)


def test_as_many_clusters_as_images_gives_each_its_own():
    x = unit_rows(12, 4, 0)
    fit = kmeans.fit(x, 12, 5, 0)
    assert sorted(kmeans.assign(x, fit.centroids)[0].tolist()) == list(range(12))
    assert fit.objective[-1] == pytest.approx(1)


@pytest.mark.parametrize("seed", range(10))
def test_seeding_draws_distinct_rows(seed):
    alike = np.repeat(unit_rows(1, 7, seed), 6, axis=0)
    alike[:, 0] = np.arange(1, 7) * 1e-30  # too little to move a product, enough to tell the rows apart
    drawn = kmeans.plus_plus(alike, 6, np.random.default_rng(seed))
    assert sorted(drawn[:, 0].tolist()) == alike[:, 0].tolist()
    assert len(np.unique(kmeans.plus_plus(unit_rows(8, 4, 1), 8, np.random.default_rng(seed)), axis=0)) == 8


def test_an_empty_cluster_takes_the_row_that_fits_worst():
    x = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8]], np.float32)
    old = np.array([[1, 0], [-1, 0]], np.float32)
    labels, best = kmeans.assign(x, old)
    sizes = np.bincount(labels, minlength=2)
    assert sizes.tolist() == [3, 0]
    new = kmeans._means(x, labels, best, old, sizes)
    np.testing.assert_allclose(new[1], x[2], atol=1e-6)
    np.testing.assert_allclose(new[0], x.sum(0) / np.linalg.norm(x.sum(0)), atol=1e-6)


def test_a_cluster_whose_mean_is_nothing_stays_where_it_was():
    x = np.array([[1, 0], [-1, 0]], np.float32)
    old = np.array([[0, 1]], np.float32)
    labels, best = kmeans.assign(x, old)
    np.testing.assert_array_equal(kmeans._means(x, labels, best, old, np.array([2])), old)


def test_equal_rows_fill_every_cluster_asked():
    x = np.tile(unit_rows(1, 4, 0), (10, 1))
    fit = kmeans.fit(x, 3, 10, 0)
    np.testing.assert_allclose(fit.centroids, x[:3], atol=1e-6)
    assert np.isfinite(fit.centroids).all()
