"""Official checkpoints: recognised by their tensors, strictly, whatever their wrapping. tests/embedder/compare_dinov2.py
holds the outputs to the authors' own modules."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from embedder.encoder import load_encoder, normalise
from embedder.layers import Variant
from embedder.official import config_of, export, read_official
from embedder.vit import VisionTransformer
from embedder.vit_config import VARIANTS, VitConfig
from tests.embedder.golden_dinov2 import GOLDEN, fill, picture


def made(**changes) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(VitConfig(variant="ti", patch=14, side=70, depth=3, **changes)).eval()


@pytest.mark.parametrize("registers", [0, 4])
def test_a_released_file_is_the_same_network(registers, tmp_path):
    model, image = made(registers=registers), torch.randn(2, 3, 56, 84)
    torch.save(export(model), tmp_path / "m.pth")
    found = read_official(tmp_path / "m.pth").eval()
    assert found.config == model.config
    torch.testing.assert_close(found.tokens(image), model.tokens(image), rtol=0, atol=0)


def test_a_training_checkpoint_has_a_prefix_chunks_and_heads(tmp_path):
    model, tensors = made(), {}
    for key, value in export(model).items():
        parts = key.split(".")
        name = ".".join(["blocks", str(int(parts[1]) // 2), *parts[1:]]) if parts[0] == "blocks" else key
        tensors[f"backbone.{name}"] = value
    torch.save({"teacher": tensors | {"dino_head.mlp.0.weight": torch.zeros(1)}}, tmp_path / "t.pth")
    image = torch.randn(1, 3, 70, 70)
    torch.testing.assert_close(read_official(tmp_path / "t.pth").eval().tokens(image), model.tokens(image), rtol=0, atol=0)


def test_sizes_are_told_by_their_width():
    with torch.device("meta"):
        shapes = {name: VisionTransformer(VitConfig(variant=name, patch=14, side=518)).state_dict() for name in "sblg"}
    assert {name: config_of(state).variant for name, state in shapes.items()} == {name: name for name in "sblg"}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda t: t.pop("norm.weight"), "norm.weight"),
        (lambda t: t.pop("pos_embed"), "pos_embed"),
        (lambda t: t.update(extra=torch.zeros(1)), "extra"),
        (lambda t: t.update({"patch_embed.proj.weight": torch.zeros(100, 3, 14, 14)}), "100 wide"),
    ],
)
def test_what_does_not_fit_is_one_line(spoil, told, tmp_path):
    tensors = export(made())
    spoil(tensors)
    torch.save(tensors, tmp_path / "m.pth")
    with pytest.raises(ValueError, match="not a usable checkpoint") as error:
        read_official(tmp_path / "m.pth")
    assert told in str(error.value) or "state_dict" in str(error.value)
    assert "\n" not in str(error.value)


def test_damaged_files_and_other_things_are_one_line(tmp_path):
    (tmp_path / "m.pth").write_bytes(b"no checkpoint")
    (tmp_path / "empty.pth").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("m.pth", "empty.pth", "list.pth"):
        with pytest.raises(ValueError, match=f"{name} is not a usable checkpoint"):
            read_official(tmp_path / name)


def test_it_is_an_encoder_of_any_size_and_pooling(tmp_path):
    torch.save(export(made()), tmp_path / "m.pth")
    encoder = load_encoder(str(tmp_path / "m.pth"))
    assert encoder(torch.zeros(1, 3, 224, 224, dtype=torch.uint8)).shape == (1, 192)
    both = load_encoder(str(tmp_path / "m.pth"), size=42, pool="cls+mean")
    image = torch.randint(256, (2, 3, 42, 42), dtype=torch.uint8)
    tokens = both.network.tokens(normalise(image.float() / 255))
    expected = functional.normalize(torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=1))
    close = 5e-3 if both.half else 1e-5  # where the CPU computes in bfloat16
    torch.testing.assert_close(both(image), expected, atol=close, rtol=close)
    assert (both.dim, both.side) == (384, 42)
    for wrong, told in ({"size": 100}, "multiples of 14"), ({"pool": "max"}, "pool is one of"):
        with pytest.raises(ValueError, match=told):
            load_encoder(str(tmp_path / "m.pth"), **wrong)
    for name in ("vitti16-small", "copy-small"):
        with pytest.raises(ValueError, match="pool"):
            load_encoder(name, pool="mean")


def test_intermediate_layers_by_number_and_count():
    model, image = made(registers=2), torch.randn(2, 3, 42, 70)
    (last,) = model.get_intermediate_layers(image)
    torch.testing.assert_close(last, model.tokens(image)[:, 3:])
    first, third = model.get_intermediate_layers(image, [0, 2], reshape=True, return_class_token=True, return_extra_tokens=True)
    assert [part.shape for part in first] == [(2, 192, 3, 5), (2, 192), (2, 2, 192)]
    torch.testing.assert_close(third[0].flatten(2).transpose(1, 2), last)
    (plain,) = model.get_intermediate_layers(image, 1, norm=False)
    torch.testing.assert_close(model.norm(plain), last)
    with pytest.raises(ValueError, match="of 3 blocks"):
        model.get_intermediate_layers(image, [7])


@pytest.mark.parametrize(("ffn", "registers"), GOLDEN)
def test_outputs_are_those_of_the_authors_modules(ffn, registers, monkeypatch):
    monkeypatch.setitem(VARIANTS, "gold", Variant(width=192, depth=2, heads=3, ffn=ffn))
    model = fill(VisionTransformer(VitConfig(variant="gold", patch=14, side=70, registers=registers)))
    with torch.inference_mode():
        tokens = model.tokens(picture())[0]
    for found, expected in zip((tokens[0, :4], tokens[1 + registers + 7, :4]), GOLDEN[ffn, registers], strict=True):
        torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-5)
