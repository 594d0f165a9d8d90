"""Drawn pictures: every kind at any size, reproducible and varied."""

import numpy as np
import pytest
import torch

from embedder.drawings import KINDS, draw_pictures, page, plot


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_fills_its_frame(kind) -> None:
    for side in (48, 64, 96):
        picture = kind(side, np.random.default_rng(side))
        assert picture.shape == (side, side, 3)
        assert picture.dtype == np.uint8


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    one, two, other = draw_pictures(12, 48, seed=1), draw_pictures(12, 48, seed=1), draw_pictures(12, 48, seed=2)
    assert one.shape == (12, 3, 48, 48)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_pictures_of_one_kind_differ() -> None:
    drawn = draw_pictures(6 * 8, 48).reshape(8, 6, -1)
    assert all(len(drawn[:, kind].unique(dim=0)) == 8 for kind in range(6))


def test_pages_and_plots_are_mostly_paper() -> None:
    chance = np.random.default_rng(0)
    assert np.median(plot(64, chance)) == 255
    assert np.median([np.median(page(64, chance)) for _ in range(9)]) == 255
