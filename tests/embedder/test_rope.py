"""Rotations of queries and keys: by the formula, of patches alone, the same after a move, rescaled only in training."""

from __future__ import annotations

import math

import pytest
import torch

from embedder.rope import Rope, rotate
from embedder.vit import VisionTransformer
from embedder.vit_config import VitConfig


def test_angles_by_the_formula():
    waves = Rope(16, 1.0)(2, 5, prefix=3)
    assert waves.shape == (13, 2, 16)
    assert (waves[:3, 0] == 1).all()
    assert (waves[:3, 1] == 0).all()
    row, column = 1, 3
    periods = [100 ** (2 * j / 8) for j in range(4)]
    angles = [2 * math.pi * place / p for place in ((row + 0.5) / 2 * 2 - 1, (column + 0.5) / 5 * 2 - 1) for p in periods]
    found = waves[3 + row * 5 + column]
    torch.testing.assert_close(found[0], torch.tensor(angles * 2).cos())
    torch.testing.assert_close(found[1], torch.tensor(angles * 2).sin())


def test_products_of_turned_vectors_depend_on_the_way_between_them():
    qk = torch.randn(1, 1, 1, 16).expand(16, 3, 1, 16)  # 4 x 4 patches, all with the same query, key and value
    q, k, v = rotate(qk, [Rope(16, 1.0)(4, 4, prefix=0)], [(1, 16)])[:, :, 0].unbind(1)
    products = q @ k.T
    torch.testing.assert_close(products[0, 5], products[10, 15])  # a step down and a step to the right, from two places
    assert (products[0, 5] - products[0, 4]).abs() > 1e-3
    torch.testing.assert_close(v, qk[:, 2, 0])


def test_every_image_of_a_group_is_turned_alike():
    rope, qkv = Rope(8, 1.0), torch.randn(2 * 4 + 6, 3, 2, 8)
    both = rotate(qkv, [rope(2, 2, 0), rope(2, 2, 2)], [(2, 4), (1, 6)])
    parts = [rotate(part, [rope(2, 2, 0)], [(1, 4)]) for part in (qkv[:4], qkv[4:8])]
    torch.testing.assert_close(both, torch.cat([*parts, rotate(qkv[8:], [rope(2, 2, 2)], [(1, 6)])]))
    assert (both[8:10] == qkv[8:10]).all()


def test_coordinates_are_rescaled_in_training_alone():
    torch.manual_seed(0)
    rope = Rope(16, 2.0)
    assert not torch.equal(rope.train()(4, 4, 0), rope(4, 4, 0))
    assert torch.equal(rope.eval()(4, 4, 0), Rope(16, 1.0).train()(4, 4, 0))
    angles = torch.stack([torch.asin(rope.train()(8, 8, 0)[:, 1, 3]) for _ in range(300)])  # the slowest period
    factors = angles[:, 0] / torch.asin(rope.eval()(8, 8, 0)[0, 1, 3])
    assert 0.5 <= factors.min() < 0.6
    assert 1.8 < factors.max() <= 2.0 + 1e-5
    assert factors.log().mean().abs() < 0.08


def test_a_transformer_with_rotations_has_no_stored_positions_and_takes_any_grid():
    model = VisionTransformer(VitConfig(positions="rope", registers=4, depth=1, qkv_bias="no_key")).eval()
    names = set(model.state_dict())
    assert "pos_embed" not in names
    assert {"rope_embed.periods", "blocks.0.attn.qkv.bias_mask"} <= names
    image = torch.randn(1, 3, 32, 80)
    assert model.tokens(image).shape == (1, 5 + 10, 192)
    with pytest.raises(ValueError, match="where positions are added"):
        model.tokens(image, kept_BK=torch.zeros(1, 2, dtype=torch.int64))


def test_biases_of_keys_are_masked_and_learn_nothing():
    model = VisionTransformer(VitConfig(positions="rope", depth=1, side=32, qkv_bias="no_key"))
    model.tokens(torch.randn(2, 3, 32, 32)).pow(3).sum().backward()
    queries, keys, values = model.blocks[0].attn.qkv.bias.grad.chunk(3)
    assert (keys == 0).all()
    assert (queries != 0).any()
    assert (values != 0).any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_turns_packed_crops_as_a_cpu_does(compiled):
    torch.manual_seed(0)
    made = {"variant": "s", "positions": "rope", "registers": 4, "qkv_bias": "no_key", "ffn": "swiglu", "depth": 4}
    model = VisionTransformer(VitConfig(**made, layerscale=1.0, drop_path=0.3, checkpointing=True)).eval()
    images, masks = [torch.randn(2, 3, 224, 224), torch.randn(3, 3, 96, 112)], [torch.rand(2, 196) < 0.4, None]
    with torch.no_grad():
        expected = model.packed(images, masks)
    model.cuda()
    for block in model.blocks if compiled else []:
        block.compile(dynamic=False)
    there = [image.cuda() for image in images], [None if mask is None else mask.cuda() for mask in masks]
    with torch.autocast("cuda", torch.bfloat16):
        for found, told in zip(model.packed(*there), expected, strict=True):
            assert torch.nn.functional.cosine_similarity(found.float().cpu(), told, dim=-1).min() > 0.995
        model.train()
        sum(part.float().pow(2).mean() for part in model.packed(*there)).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
