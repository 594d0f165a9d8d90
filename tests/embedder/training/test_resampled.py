"""Crops by products of matrices are those that are cut and resized one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from embedder.training import resampled
from embedder.training.crops import resized
from embedder.training.resampled import cut_all, weights


def pictures(count: int, edge: int) -> np.ndarray:
    """(B, E, E, 3) smooth ones, so that a pixel's shift is seen as a level or two."""
    rng, at = np.random.default_rng(0), np.arange(edge) / edge
    turns, phases = rng.uniform(0.5, 3, (2, count, 3)), rng.uniform(0, 6, (count, 3))
    waves = turns[0][:, None, None] * at[:, None, None] + turns[1][:, None, None] * at[None, :, None]
    return np.rint(127.5 + 127.5 * np.sin(6 * waves + phases[:, None, None])).astype(np.uint8)


@pytest.mark.parametrize(("edge", "side"), [(64, 64), (64, 24), (50, 7), (20, 33)])
def test_crops_are_those_of_one_picture_at_a_time(edge, side, monkeypatch):
    monkeypatch.setitem(resampled.MOST, "cpu", 3 * side * edge)  # a picture at a time
    rng, some = np.random.default_rng(1), pictures(5, edge)
    size = rng.integers(1, edge + 1, (5, 3, 2))
    box = np.concatenate([np.floor(rng.random((5, 3, 2)) * (edge - size + 1)).astype(int), size], -1)
    rows_first = torch.from_numpy(some).permute(0, 1, 3, 2).contiguous()
    ours = cut_all(rows_first, torch.from_numpy(box).float(), side)
    assert ours.shape == (3, 5, 3, side, side)
    for b in range(5):
        for c in range(3):
            top, left, tall, wide = box[b, c]
            part = some[b, top : top + tall, left : left + wide]
            exact = torch.from_numpy(part).permute(2, 0, 1)[None].float()
            exact = interpolate(exact, size=(side, side), mode="bicubic", antialias=True)[0].clamp(0, 255)
            assert (ours[c, b] - exact).abs().max() < 0.51
            assert np.abs(ours[c, b].numpy().astype(int) - resized(part, side)).mean() < 0.5


def test_weights_add_up_even_where_a_box_is_less_than_a_pixel():
    found = weights(torch.tensor([[0.2, 7.999, 0.0]]), torch.tensor([[0.1, 0.001, 8.0]]), 4, 8)
    assert torch.allclose(found.sum(-1), torch.ones(1, 3, 4), atol=1e-6)
    assert found[0, 0, :, 0].tolist() == found[0, 1, :, 7].tolist() == [1.0] * 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_cuts_the_same_within_two_levels():
    some = torch.from_numpy(pictures(8, 64)).permute(0, 1, 3, 2).contiguous()
    size = torch.rand(8, 4, 2) * 50 + 10
    box = torch.cat([torch.rand(8, 4, 2) * (64 - size), size], -1)
    here, there = cut_all(some, box, 48), cut_all(some.cuda(), box.cuda(), 48).cpu()
    assert (here.int() - there.int()).abs().max() <= 2
