"""Attention within images, and stochastic depth by subset."""

from __future__ import annotations

import pytest
import torch

from embedder.layers import Attention
from embedder.vit import VisionTransformer, VitConfig


def test_attention_with_equal_keys_is_the_mean_of_the_values() -> None:
    layer = Attention(width=4, heads=2)
    with torch.no_grad():
        layer.qkv.weight.zero_()
        layer.qkv.bias.zero_()
        layer.qkv.weight[8:] = torch.eye(4)  # values are the input; queries and keys are zero, so all weights are equal
        layer.proj.weight.copy_(torch.eye(4))
        layer.proj.bias.zero_()
    x = torch.arange(12.0).reshape(3, 4)
    assert torch.allclose(layer(x, [(1, 3)]), x.mean(0, keepdim=True).expand(3, -1))
    assert torch.allclose(layer(x, [(1, 2), (1, 1)]), torch.stack([x[:2].mean(0), x[:2].mean(0), x[2]]))


def test_stochastic_depth_leaves_images_out_and_keeps_the_mean():
    torch.manual_seed(5)
    block = VisionTransformer(VitConfig(side=32, patch=8, depth=1, layerscale=1.0, drop_path=0.5)).blocks[0].train()
    x = torch.randn(8 * 4 + 6 * 2, 192)
    groups = [(8, 4), (6, 2)]
    branch = [lambda some, _: torch.ones_like(some)]
    moved = torch.stack([block._with(x, groups, branch[0]) - x for _ in range(200)])
    per_image = [moved[:, :32].unflatten(1, (8, 4)), moved[:, 32:].unflatten(1, (6, 2))]
    for part, kept in zip(per_image, (4, 3), strict=True):
        shares = part.mean(dim=(2, 3))
        assert ((shares == 0) | ((shares - 2).abs() < 1e-5)).all()  # an image is in, twice as much, or out
        assert ((shares > 0).sum(dim=1) == kept).all()
        assert shares.mean().item() == pytest.approx(1, abs=0.15)
