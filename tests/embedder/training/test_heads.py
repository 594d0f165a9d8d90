"""Heads: key layout, and prototypes of unit length times their gain."""

from __future__ import annotations

import torch
from torch.nn import functional

from embedder.training.heads import Head


def test_the_layout_is_the_official_one():
    head = Head(8, 11, hidden=6, bottleneck=5)
    shapes = {name: tuple(value.shape) for name, value in head.state_dict().items()}
    assert shapes == {
        "mlp.0.weight": (6, 8), "mlp.0.bias": (6,), "mlp.2.weight": (6, 6), "mlp.2.bias": (6,),
        "mlp.4.weight": (5, 6), "mlp.4.bias": (5,), "last_layer.weight_g": (11, 1), "last_layer.weight_v": (11, 5),
    }  # fmt: skip


def test_scores_are_cosines_times_gains():
    head, x = Head(8, 11, hidden=6, bottleneck=5), torch.randn(3, 8)
    with torch.no_grad():
        head.last_layer.weight_g *= 2
    expected = 2 * functional.cosine_similarity(head.mlp(x)[:, None], head.last_layer.weight_v[None], dim=-1)
    torch.testing.assert_close(head(x), expected)
