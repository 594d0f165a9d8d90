"""Asked pass after pass, the answer stays that of the whole product."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from curation.kmeans import asker, nearest
from curation.kmeans.asker import Asker
from curation.kmeans.sketch import Targets
from tests.curation.making import unit_rows


def world(decay: float) -> tuple[asker.Floats, asker.Floats]:
    """3000 rows, and 400 of them."""
    x = unit_rows(3000, 128, 0) * (np.arange(1, 129) ** -decay).astype(np.float32)
    return x, x[:400].copy()


@pytest.fixture(params=[False, True], ids=["float32", "bfloat16"], autouse=True)
def half(request, monkeypatch):
    """Whether sketches are in bfloat16, whatever this CPU has."""
    monkeypatch.setattr(nearest, "bfloat16", lambda: request.param)
    return request.param


@pytest.mark.parametrize("decay", [0.0, 1.5])
@pytest.mark.parametrize("step", [0.5, 0.01])
@pytest.mark.parametrize("euclidean", [False, True])
def test_exact_in_every_pass(decay, step, euclidean, half):
    x, c = world(decay)
    one = Asker(x)
    for turn in range(7):
        c = c + step / (turn + 1) ** 2 * unit_rows(400, 128, turn) * np.abs(c).mean()
        labels, scores = one.ask(Targets.of(c, euclidean=euclidean))
        bias = (c.astype(np.float64) ** 2).sum(1) / 2 if euclidean else 0
        exact = x.astype(np.float64) @ c.T.astype(np.float64) - bias
        np.testing.assert_allclose(scores, exact.max(1), atol=1e-5)
        np.testing.assert_allclose(exact[np.arange(3000), labels], exact.max(1), atol=1e-6)
    assert (one.sketch is not None) == (decay > 0 or half)


def test_a_sketch_is_chosen_where_it_pays(half):
    flat, steep = (Asker(world(decay)[0]) for decay in (0.0, 1.5))
    for turn in range(3):
        for one, decay in ((flat, 0.0), (steep, 1.5)):
            one.ask(Targets.of(world(decay)[1] + np.float32(0.001 * turn)))
    assert half or flat.sketch is None
    assert steep.sketch is not None
    assert steep.sketch.half == half
    assert steep.sketch.axes_DR.shape[1] < 128


def test_other_centroids_altogether():
    x, c = world(1.5)
    one = Asker(x)
    one.ask(Targets.of(c))
    labels, _ = one.ask(Targets.of(c[:300]))
    assert labels.max() < 300


@pytest.mark.parametrize("euclidean", [False, True])
def test_exact_where_most_centroids_stay(euclidean, monkeypatch):
    monkeypatch.setattr(nearest, "PAIR", 0.0)  # a sketch always pays
    x, c = world(1.5)
    one, rng = Asker(x), np.random.default_rng(0)
    for turn in range(5):
        labels, scores = one.ask(Targets.of(c, euclidean=euclidean))
        exact = x.astype(np.float64) @ c.T.astype(np.float64) - ((c.astype(np.float64) ** 2).sum(1) / 2 if euclidean else 0)
        np.testing.assert_allclose(scores, exact.max(1), atol=1e-5)
        np.testing.assert_allclose(exact[np.arange(3000), labels], exact.max(1), atol=1e-6)
        assert one.sketch is not None
        c = c.copy()
        c[rng.choice(400, 20, replace=False)] = x[rng.choice(3000, 20, replace=False)] * (1 + turn / 10)


def test_any_number_of_threads_gives_the_same_bytes():
    x, c = world(1.5)
    found, threads = [], torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        one = Asker(x)
        found.append([part.tobytes() for step in (0, 0.01) for part in one.ask(Targets.of(c + np.float32(step)))])
        assert torch.get_num_threads() == count
    torch.set_num_threads(threads)
    assert found[0] == found[1]
