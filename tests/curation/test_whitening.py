"""Centring, whitening and score normalisation: by hand, and as Faiss and plain covariance have it."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from curation.encode import unit
from curation.whitening import Moments, apply, background_level, fit, normalised


def moments(*blocks: np.ndarray) -> Moments:
    found = Moments(blocks[0].shape[1])
    for block in blocks:
        found.add(block)
    return found


def skewed(count: int, dim: int = 8) -> np.ndarray:
    """Unit rows that share a mean and lie mostly along a few axes."""
    rng = np.random.default_rng(0)
    mixing = np.diag(1.0 / np.arange(1, dim + 1)) @ np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return unit(0.5 + rng.normal(size=(count, dim)) @ mixing)


def test_centring_by_hand() -> None:
    x = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    fitted = fit(moments(x[:2]), "centre")
    np.testing.assert_allclose(fitted, [[0.5, 0.5]])
    np.testing.assert_allclose(apply(x, fitted)[:2], [[np.sqrt(0.5), -np.sqrt(0.5)], [-np.sqrt(0.5), np.sqrt(0.5)]], atol=1e-6)
    assert apply(np.array([[0.5, 0.5]], np.float32), fitted).tolist() == [[0, 0]]


def test_whitened_rows_have_no_mean_and_the_same_spread_everywhere() -> None:
    x = skewed(4000)
    fitted = fit(moments(x), "pca")
    white = (x - fitted[0]) @ fitted[1:]
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(white.T), np.eye(8), atol=1e-2)


def test_cosines_are_those_of_faiss_pca_whitening() -> None:
    x = skewed(2000)
    ours = apply(x[:50], fit(moments(x), "pca"))
    codec = faiss.index_factory(8, "PCAW8,L2norm,Flat")
    codec.train(x)
    theirs = np.frombuffer(codec.sa_encode(x[:50]), np.float32).reshape(50, 8)
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-3)


def test_the_fit_does_not_depend_on_the_blocks() -> None:
    x = skewed(300)
    np.testing.assert_allclose(fit(moments(x), "pca"), fit(moments(x[:7], x[7:200], x[200:]), "pca"), atol=1e-5)


def test_an_axis_without_spread_is_not_blown_up() -> None:
    x = np.c_[skewed(500), np.zeros(500, np.float32)]
    x[0, 8] = 1e-4
    assert np.isfinite(apply(x, fit(moments(x), "pca"))).all()
    assert abs(apply(x, fit(moments(x), "pca"))[0, 8]) < 0.05


@pytest.mark.parametrize(("kind", "rows", "least"), [("pca", 8, 8), ("centre", 0, 0)])
def test_too_few_to_fit_on(kind: str, rows: int, least: int) -> None:
    with pytest.raises(ValueError, match=f'whiten = "{kind}" needs more than {least} pool images, and there are {rows}'):
        fit(moments(skewed(10)[:rows]), kind)


def test_score_normalisation_by_hand() -> None:
    background = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], np.float32)
    queries = np.array([[1, 0], [0, -1]], np.float32)
    level = background_level(queries, background, n=2)
    np.testing.assert_allclose(level, [0.8, 0.0], atol=1e-6)  # 1 and 0.6; 0 and 0
    np.testing.assert_allclose(background_level(queries, background, n=1), [1, 0], atol=1e-6)
    np.testing.assert_allclose(normalised(np.array([[0.9, 0.1], [0.3, 0.2]]), level, beta=0.5), [[0.5, -0.3], [0.3, 0.2]])
    with pytest.raises(ValueError, match="background of so many, not 4"):
        background_level(queries, background, n=5)


def test_a_background_is_searched_block_by_block() -> None:
    x = skewed(5000)
    np.testing.assert_allclose(background_level(x, x[:20])[4990:], background_level(x[4990:], x[:20]), atol=1e-6)
