"""Lloyd: it finds what is there, says how it went, says when it cannot, and says the same twice."""

from __future__ import annotations

import numpy as np
import pytest

from curation import kmeans
from curation.kmeans import lloyd
from tests.curation.making import unit_rows


def blobs(per: int, seed: int = 0) -> tuple[lloyd.Floats, lloyd.Ints]:
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


def test_same_seed_same_bytes():
    x = unit_rows(200, 8, 1)
    first = kmeans.fit(x, 7, 10, 3)
    assert first.centroids.tobytes() == kmeans.fit(x, 7, 10, 3).centroids.tobytes()
    assert first.centroids.tobytes() != kmeans.fit(x, 7, 10, 4).centroids.tobytes()


@pytest.mark.parametrize("k", [1, 5, 40])
def test_objective_never_falls(k):
    fit = kmeans.fit(unit_rows(400, 6, 2), k, 30, 0, tolerance=0.0)
    assert len(fit.objective) > 1
    assert np.all(np.diff(fit.objective) >= -1e-6)
    assert fit.sizes.sum() == 400


def test_more_clusters_than_images_is_an_error():
    with pytest.raises(ValueError, match="4 clusters asked of 3 images"):
        kmeans.fit(unit_rows(3, 4, 0), 4, 5, 0)


def test_as_many_clusters_as_images_gives_each_its_own():
    x = unit_rows(12, 4, 0)
    fit = kmeans.fit(x, 12, 5, 0)
    assert sorted(kmeans.assign(x, fit.centroids)[0].tolist()) == list(range(12))
    assert fit.objective[-1] == pytest.approx(1)


def said(x: lloyd.Floats, c: lloyd.Floats, euclidean: bool = False) -> lloyd.Partial:
    labels, scores = kmeans.assign(x, c, euclidean=euclidean)
    gain = lloyd.gains(scores, lloyd.squares(x) if euclidean else None)
    return lloyd.partial(x, labels, gain, len(c), np.full(len(x), -1))


def test_an_empty_cluster_takes_the_row_that_fits_worst():
    x = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8]], np.float32)
    old = np.array([[1, 0], [-1, 0]], np.float32)
    found = said(x, old)
    assert found.sizes.tolist() == [3, 0]
    assert lloyd.told(found, euclidean=False) == kmeans.Pass(objective=pytest.approx(0.8), moved=3, empties=1, rows=3)
    new = lloyd.moved(found, old, euclidean=False)
    np.testing.assert_allclose(new[1], x[2], atol=1e-6)
    np.testing.assert_allclose(new[0], x.sum(0) / np.linalg.norm(x.sum(0)), atol=1e-6)


def test_a_cluster_whose_mean_is_nothing_stays_where_it_was():
    x = np.array([[1, 0], [-1, 0]], np.float32)
    old = np.array([[0, 1]], np.float32)
    np.testing.assert_array_equal(lloyd.moved(said(x, old), old, euclidean=False), old)


def test_euclidean_by_hand():
    x = np.array([[0, 0], [0, 2], [10, 0], [10, 4]], np.float32)
    fit = kmeans.fit(x, 2, 10, euclidean=True, start=np.array([[1, 1], [9, 4]], np.float32))
    assert fit.centroids.tolist() == [[0, 1], [10, 2]]
    assert fit.labels.tolist() == [0, 0, 1, 1]
    first = (2 + 2 + (1 + 16) + 1) / 4
    assert [(p.objective, p.moved, p.empties) for p in fit.passes] == [(first, 4, 0), (2.5, 0, 0)]


def test_euclidean_and_cosine_agree_on_unit_rows():
    x, start = unit_rows(500, 16, 1), unit_rows(9, 16, 2)
    near = kmeans.assign(x, start)[0]
    np.testing.assert_array_equal(kmeans.assign(x, start, euclidean=True)[0], near)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 11])
def test_partial_sums_make_the_whole_in_an_order_of_their_own(count):
    x, c = unit_rows(330, 6, 1), unit_rows(7, 6, 2)
    pieces = [said(piece, c) for piece in np.array_split(x, count)]
    whole, total = said(x, c), lloyd.merged(iter(pieces))
    np.testing.assert_allclose(total.sums, whole.sums, atol=1e-12)
    assert (total.sizes.tolist(), total.moved) == (whole.sizes.tolist(), whole.moved)
    np.testing.assert_allclose(total.fits, whole.fits, atol=1e-6)
    assert lloyd.merged(pieces).sums.tobytes() == total.sums.tobytes()


def test_nothing_to_merge_is_an_error():
    with pytest.raises(ValueError, match="no rows to cluster"):
        lloyd.merged([])


def test_equal_rows_fill_every_cluster_asked():
    x = np.tile(unit_rows(1, 4, 0), (10, 1))
    fit = kmeans.fit(x, 3, 10, 0)
    np.testing.assert_allclose(fit.centroids, x[:3], atol=1e-6)
    assert np.isfinite(fit.centroids).all()


def test_labels_are_those_of_the_last_pass_and_late_passes_move_little():
    x, _ = blobs(60)
    fit = kmeans.fit(x, 3, 20, 0)
    assert fit.passes[-1].moved == 0
    assert fit.labels.tolist() == kmeans.assign(x, fit.centroids)[0].tolist()
