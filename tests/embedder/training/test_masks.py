"""Masks: how many, how much, in blocks, and the same for any number of processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embedder.training.masks import MaskConfig, masks, ratios

GRID = (14, 14)


def test_half_of_the_crops_are_masked_at_ratios_that_cover_the_range():
    drawn = ratios(64, MaskConfig(), 0, 3)
    some = np.sort(drawn[drawn > 0])
    assert len(some) == 32
    edges = np.linspace(0.1, 0.5, 33)
    assert ((edges[:-1] <= some) & (some <= edges[1:])).all()  # one from every slice
    assert not np.array_equal(drawn, ratios(64, MaskConfig(), 0, 4))


def test_a_crop_gets_nearly_its_ratio_and_never_more():
    drawn, wanted = masks(range(64), 64, GRID, MaskConfig(), 0, 0), ratios(64, MaskConfig(), 0, 0)
    counts = drawn.sum(dim=1).numpy()
    assert drawn.dtype == torch.bool
    assert (counts <= (wanted * 196).astype(int)).all()
    assert counts.sum() > 0.85 * (wanted * 196).sum()
    assert (counts[wanted == 0] == 0).all()


def test_masks_are_blocks():
    mask = masks(range(64), 64, GRID, MaskConfig(), 0, 0).reshape(64, *GRID)
    alike = (mask[:, :, 1:] == mask[:, :, :-1]).float().mean()
    shuffled = mask.flatten(1)[:, torch.randperm(196)].reshape(64, *GRID)
    assert alike > 0.9 > (shuffled[:, :, 1:] == shuffled[:, :, :-1]).float().mean()


def test_two_processes_draw_what_one_draws():
    whole = masks(range(16), 16, GRID, MaskConfig(), 5, 7)
    halves = [
        masks([0, 1, 2, 3, 8, 9, 10, 11], 16, GRID, MaskConfig(), 5, 7),
        masks([4, 5, 6, 7, 12, 13, 14, 15], 16, GRID, MaskConfig(), 5, 7),
    ]
    assert torch.equal(whole[[0, 1, 2, 3, 8, 9, 10, 11]], halves[0])
    assert torch.equal(whole[[4, 5, 6, 7, 12, 13, 14, 15]], halves[1])


def test_a_ratio_that_falls_is_refused():
    with pytest.raises(ValueError, match="ratio rises"):
        MaskConfig(ratio=(0.5, 0.1))
