"""The transformer: official key layout and sizes, positions at other sizes, token dropping, and attention by hand."""

import pytest
import torch

from embedder.patches import sincos_positions
from embedder.vit import VisionTransformer
from embedder.vit_config import VARIANTS, VitConfig


def small(**changes: object) -> VisionTransformer:
    """A two-block Ti at 64 px."""
    torch.manual_seed(0)
    return VisionTransformer(VitConfig(**{"side": 64, "depth": 2, **changes})).eval()


def parameters(variant: str, patch: int, side: int) -> int:
    """Parameters of a size, counted without allocating it."""
    with torch.device("meta"):
        return sum(p.numel() for p in VisionTransformer(VitConfig(variant=variant, patch=patch, side=side)).parameters())


def test_sizes_match_the_published_checkpoints() -> None:
    # ViT-S/14 at 518 px: 22,056,576 in the official file (12 blocks of 384, 1370 positions, mask token included).
    assert parameters("s", 14, 518) == 22_056_576
    assert VARIANTS["h"].width // VARIANTS["h"].heads == 80
    assert 2 * VARIANTS["g"].inner == 8192
    assert VitConfig(variant="l", ffn="swiglu").shape.inner == 2736  # ViT-L trained from scratch
    assert VitConfig(variant="hplus", ffn="mlp").shape.inner == 5120  # a size's own hidden width is that of its feed-forward


def test_keys_are_the_official_ones() -> None:
    names = set(small(registers=4).state_dict())
    block = {"norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"}
    block |= {f"{part}.{kind}" for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2") for kind in ("weight", "bias")}
    outside = {"cls_token", "pos_embed", "mask_token", "register_tokens", "norm.weight", "norm.bias"}
    outside |= {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert names == outside | {f"blocks.{i}.{key}" for i in (0, 1) for key in block}
    assert "blocks.0.mlp.w12.weight" in keys_of("g")


def keys_of(variant: str) -> set[str]:
    """Keys of a size, without allocating it."""
    with torch.device("meta"):
        return set(VisionTransformer(VitConfig(variant=variant, patch=14, side=518, depth=1)).state_dict())


@pytest.mark.parametrize(("registers", "tokens"), [(0, 17), (4, 21)])
def test_token_count(registers: int, tokens: int) -> None:
    model = small(registers=registers)
    assert model.tokens(torch.zeros(2, 3, 64, 64)).shape == (2, tokens, 192)
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 192)


def test_positions_at_the_stored_size_are_untouched_and_constant_maps_stay_constant() -> None:
    model = small()
    assert model.positions(4, 4) is model.pos_embed
    with torch.no_grad():
        model.pos_embed[:, 1:] = 3.0
    for registers in (0, 4):
        other = small(registers=registers)
        other.pos_embed.data[:, 1:] = 3.0
        resized = other.positions(6, 5)
        assert resized.shape == (1, 31, 192)
        assert torch.allclose(resized[:, 1:], torch.tensor(3.0), atol=1e-5)


def test_keeping_every_token_changes_nothing_and_dropping_shortens() -> None:
    model, image = small(pool="mean"), torch.randn(2, 3, 64, 64)
    everything = torch.arange(16).expand(2, -1)
    assert torch.allclose(model(image), model(image, everything), atol=1e-6)
    assert model.tokens(image, everything[:, ::2]).shape[1] == 9


def test_mean_pool_leaves_out_class_token_and_registers() -> None:
    model, image = small(pool="mean", registers=4), torch.randn(1, 3, 64, 64)
    assert torch.allclose(model.pooled(image), model.tokens(image)[:, 5:].mean(1))


def test_stem_gives_the_same_grid_and_needs_a_power_of_two() -> None:
    assert small(stem=True).patch_embed(torch.zeros(1, 3, 64, 96)).shape == (1, 192, 4, 6)
    with pytest.raises(ValueError, match="power of two"):
        VisionTransformer(VitConfig(patch=14, side=56, depth=1, stem=True))


def test_projection_layer_sets_the_output_width() -> None:
    model = small(project=32)
    assert model.dim == 32
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 32)


def test_sincos_rows_and_columns_by_hand() -> None:
    table = sincos_positions(2, 4)  # one frequency, 1: [sin row, cos row, sin column, cos column]
    s, c = torch.tensor(1.0).sin(), torch.tensor(1.0).cos()
    assert torch.allclose(table, torch.tensor([[0, 1, 0, 1], [0, 1, s, c], [s, c, 0, 1], [s, c, s, c]]))


def test_bad_configurations_are_named() -> None:
    with pytest.raises(ValueError, match="unknown ViT variant 'xl'"):
        VitConfig(variant="xl")
    with pytest.raises(ValueError, match="not a multiple"):
        VitConfig(side=100)


def several() -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
    torch.manual_seed(3)
    masks = torch.rand(2, 16) < 0.4
    return [torch.randn(2, 3, 32, 32), torch.randn(5, 3, 16, 16), torch.randn(1, 3, 16, 32)], [masks, None, None]


ROPE = {"positions": "rope", "registers": 2, "qkv_bias": "no_key", "ffn": "swiglu"}


@pytest.mark.parametrize("changes", [{}, {"registers": 2}, {"checkpointing": True}, {"drop_path": 0.4}, ROPE])
def test_packed_is_each_alone_forward_and_backward(changes):
    torch.manual_seed(4)
    model = VisionTransformer(VitConfig(side=32, patch=8, depth=3, layerscale=0.5, **changes))
    model.train("drop_path" not in changes)  # what is left out is drawn: equal only where nothing is
    images, masks = several()
    found = {}
    for name in ("packed", "alone"):
        model.zero_grad()
        alone = [model.tokens(image, masks_BP=mask) for image, mask in zip(images, masks, strict=True)]
        out = model.packed(images, masks) if name == "packed" else alone
        sum((part * torch.linspace(-1, 1, part.numel()).view_as(part)).sum() for part in out).backward()
        found[name] = out, {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    for one, other in zip(found["packed"][0], found["alone"][0], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert found["packed"][1].keys() == found["alone"][1].keys()
    for key, gradient in found["packed"][1].items():
        torch.testing.assert_close(gradient, found["alone"][1][key], atol=1e-4, rtol=1e-4)


def test_stochastic_depth_by_rule():
    deep = {"side": 32, "patch": 8, "depth": 3, "drop_path": 0.4}
    assert [b.drop for b in VisionTransformer(VitConfig(**deep)).blocks] == [0.4, 0.4, 0.4]
    assert [b.drop for b in VisionTransformer(VitConfig(**deep, drop_path_rule="linear")).blocks] == [0.0, 0.2, 0.4]
    with pytest.raises(ValueError, match="share below 1"):
        VitConfig(drop_path=1.0)
