"""Sketches rule out centroids and never the nearest: the answer is that of the whole product."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from curation.kmeans import nearest
from curation.kmeans.sketch import Sketch, Targets, against, principal, short_centroids, shortened


def world(n: int, k: int, dims: int, decay: float, seed: int) -> tuple[nearest.Floats, nearest.Floats]:
    """Rows, and centroids that are rows a little moved; the spread along each axis falls off."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dims)) * np.arange(1, dims + 1) ** -decay @ np.linalg.qr(rng.normal(size=(dims, dims)))[0]
    c = x[:k] + 0.1 * rng.normal(size=(k, dims)) * np.linalg.norm(x, axis=1).mean() / dims**0.5
    return x.astype(np.float32), c.astype(np.float32)


def exact(x: nearest.Floats, c: nearest.Floats, euclidean: bool) -> tuple[nearest.Ints, np.ndarray]:
    scores = x.astype(np.float64) @ c.astype(np.float64).T - ((c.astype(np.float64) ** 2).sum(1) / 2 if euclidean else 0)
    return scores.argmax(1), scores.max(1)


@pytest.mark.parametrize("euclidean", [False, True])
@pytest.mark.parametrize(("decay", "count"), [(0.0, 4), (0.7, 16), (1.5, 8), (1.5, 31)])
@pytest.mark.parametrize("guessed", ["none", "right", "wrong"])
@pytest.mark.parametrize("half", [False, True])
def test_sketched_is_exact(euclidean, decay, count, guessed, half, monkeypatch):
    monkeypatch.setattr(nearest, "BLOCK", 300)
    monkeypatch.setattr(nearest, "COLUMNS", 70)
    x, c = world(1013, 333, 64, decay, 1)
    targets = Targets.of(c, euclidean=euclidean)
    labels, scores = exact(x, c, euclidean)
    guess = {"none": None, "right": labels, "wrong": np.random.default_rng(0).integers(0, 333, 1013)}[guessed]
    sketch = Sketch(principal(targets.centroids_KD)[:, :count].contiguous(), half)
    for one in (sketch, None):
        found, score = nearest.nearest(x, targets, guess, one)
        np.testing.assert_array_equal(found, labels)
        np.testing.assert_allclose(score, scores, atol=1e-4)


@pytest.mark.parametrize("euclidean", [False, True])
@pytest.mark.parametrize("count", [1, 8, 64])
@pytest.mark.parametrize("half", [False, True])
def test_a_sketch_never_promises_too_little(euclidean, count, half):
    x, c = world(500, 300, 64, 0.7, 3)
    targets = Targets.of(c, euclidean=euclidean)
    sketch = Sketch(principal(targets.centroids_KD)[:, :count].contiguous(), half)
    guess = np.random.default_rng(0).integers(0, 300, 500)
    scores = x.astype(np.float64) @ c.astype(np.float64).T + targets.bias_K.double().numpy()
    own = scores[np.arange(500), guess]
    rows = against(shortened(x, sketch), own.astype(np.float32), targets, sketch)
    promised = (rows.double() @ short_centroids(targets, sketch).double().T).numpy()
    needed = scores - own[:, None]
    assert (promised >= needed).all()
    if count == 64:  # and little more, where nothing is left out
        assert (promised - needed).max() < (0.02 if half else 1e-3) * np.linalg.norm(x, axis=1).max() ** 2


def test_a_cpu_with_bfloat16_asks_in_it(monkeypatch):
    x, c = world(2000, 512, 256, 2.0, 1)
    for has in (True, False):
        monkeypatch.setattr(nearest, "bfloat16", lambda has=has: has)
        assert nearest.fitting(x, Targets.of(c)).half is has


def test_the_sketch_is_chosen_by_what_it_rules_out(monkeypatch):
    monkeypatch.setattr(nearest, "bfloat16", lambda: False)
    flat, steep = world(2000, 512, 256, 0.0, 1), world(2000, 512, 256, 2.0, 1)
    assert nearest.fitting(flat[0], Targets.of(flat[1])) is None
    chosen = nearest.fitting(steep[0], Targets.of(steep[1]))
    assert chosen is not None
    assert chosen.axes_DR.shape[1] < 128
    few = Targets.of(steep[1][:50])
    assert nearest.fitting(steep[0], few) is None


def test_of_equal_centroids_the_lower_number_wins():
    x, c = world(400, 300, 64, 1.5, 2)
    targets = Targets.of(np.concatenate([c, c]), euclidean=True)
    sketch = Sketch(principal(targets.centroids_KD)[:, :16].contiguous())
    assert nearest.nearest(x, targets, None, sketch)[0].max() < 300
    assert nearest.nearest(x, targets, np.full(400, 599), sketch)[0].max() < 300


def test_rows_that_are_zero_or_no_numbers_stop_nothing():
    x, c = world(400, 300, 64, 1.5, 2)
    x[3], x[5] = 0, np.nan
    sketch = Sketch(principal(torch.from_numpy(c))[:, :16].contiguous())
    found, _ = nearest.nearest(x, Targets.of(c, euclidean=True), None, sketch)
    others = np.arange(400) != 5
    np.testing.assert_array_equal(found[others], exact(x[others], c, True)[0])


def test_no_rows():
    assert nearest.nearest(np.zeros((0, 8), np.float32), Targets.of(np.eye(8, dtype=np.float32)))[0].shape == (0,)
