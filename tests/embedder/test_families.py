"""DINOv3, I-JEPA and MAE: outputs of the authors' own modules, files as they write them, and what encoders make of each.

tests/embedder/compare_dinov3.py and compare_jepa_mae.py hold all sizes to those modules.
"""

from __future__ import annotations

import argparse

import pytest
import torch
from safetensors.torch import load_file

from embedder.encoder import load_encoder, save_weights
from embedder.official import export, from_tensors
from embedder.vit import VisionTransformer
from embedder.vit_config import VARIANTS, VitConfig
from tests.embedder.comparing import filled, wavy
from tests.embedder.golden_dinov3 import GOLDEN as DINOV3
from tests.embedder.golden_jepa_mae import GOLDEN as JEPA_MAE

SMALL = {"variant": "ti", "depth": 2}
V3 = SMALL | {"positions": "rope", "registers": 4, "qkv_bias": "no_key", "eps": 1e-5, "rescale": 2.0}
FIXED = SMALL | {"positions": "sincos", "layerscale": 0.0, "side": 64}
KINDS = {
    "v3 mlp": V3,
    "v3 swiglu": V3 | {"ffn": "swiglu", "hidden": 768},
    "v3 without qkv biases": V3 | {"qkv_bias": "none"},
    "jepa": FIXED | {"class_token": False, "pool": "mean"},
    "mae-cls": FIXED,
    "mae-mean": FIXED | {"pool": "mean", "pool_first": True},
}


def network(kind: str) -> VisionTransformer:
    """Tensors by formula, through their official names and back."""
    return from_tensors(filled(export(VisionTransformer(VitConfig(**KINDS[kind]))))).eval()


def close(found: torch.Tensor, expected: tuple[float, ...]) -> None:
    torch.testing.assert_close(found[: len(expected)], torch.tensor(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("ffn", DINOV3)
def test_dinov3_gives_what_its_authors_modules_give(ffn):
    with torch.inference_mode():
        tokens = network(f"v3 {ffn}").tokens(wavy(48, 112))[0]
    for found, expected in zip((tokens[0], tokens[4], tokens[5 + 7]), DINOV3[ffn], strict=True):
        close(found, expected)


@pytest.mark.parametrize("kind", JEPA_MAE)
def test_jepa_and_mae_give_what_their_authors_modules_give(kind):
    model = network(kind)
    with torch.inference_mode():
        found = model.tokens(wavy(64, 64))[0, [0, 7]] if kind == "jepa" else model(wavy(64, 64))
    for part, expected in zip(found, JEPA_MAE[kind], strict=True):
        close(part, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_file_is_is_read_from_its_tensors(kind):
    model = network(kind)
    assert model.config == VitConfig(**KINDS[kind])
    tensors = export(model)
    again = from_tensors(tensors)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    if kind.startswith("v3"):
        assert "storage_tokens" in tensors
        assert ("blocks.1.mlp.w1.weight" in tensors) == (kind == "v3 swiglu")
        assert ("blocks.1.attn.qkv.bias_mask" in tensors) == (kind != "v3 without qkv biases")
    else:
        assert "mask_token" not in tensors
        assert "blocks.1.ls1.gamma" not in tensors
        assert ("fc_norm.weight" in tensors) == (kind == "mae-mean")


@pytest.mark.parametrize("name", ["s", "splus", "b", "l", "lplus", "hplus", "7b"])
def test_sizes_of_dinov3_are_told_by_width_and_heads(name):
    bias = "none" if name == "7b" else "no_key"
    config = VitConfig(variant=name, positions="rope", registers=4, qkv_bias=bias, eps=1e-5, rescale=2.0)
    with torch.device("meta"):
        tensors = export(VisionTransformer(config))
        assert from_tensors(tensors).config == config
    hidden = VARIANTS[name].inner
    assert tensors.get("blocks.0.mlp.w1.weight", tensors.get("blocks.0.mlp.fc1.weight")).shape[0] == hidden


def test_long_training_of_l_has_swiglu_by_dinov2s_rule():
    config = VitConfig(variant="l", patch=14, side=518, ffn="swiglu")
    with torch.device("meta"):
        tensors = export(VisionTransformer(config))
        assert from_tensors(tensors).config == config
    assert tensors["blocks.0.mlp.w3.weight"].shape == (1024, 2736)


def written(kind: str, path) -> None:
    """A file as the authors' training writes it, with all that is beside the encoder."""
    tensors = export(network(kind))
    if kind == "jepa":
        wrapped = {f"module.{key}": value for key, value in tensors.items()}
        other = {key: torch.zeros_like(value) for key, value in wrapped.items()}
        torch.save({"encoder": other, "predictor": other, "opt": {"state": {}}, "epoch": 3, "target_encoder": wrapped}, path)
    elif kind == "mae-cls":
        beside = {"mask_token": torch.ones(1, 1, 512), "decoder_pos_embed": torch.ones(1, 17, 512)}
        torch.save({"model": tensors | beside, "args": argparse.Namespace(lr=0.1)}, path, _use_new_zipfile_serialization=False)
    elif kind == "mae-mean":
        torch.save({"model": tensors | {"head.weight": torch.ones(9, 192), "head.bias": torch.ones(9)}}, path)
    else:
        training = {f"backbone.{key}": value for key, value in tensors.items()} | {"dino_head.mlp.0.weight": torch.ones(1)}
        torch.save({"teacher": training} if kind == "v3 mlp" else tensors | {"local_cls_norm.weight": torch.ones(192)}, path)


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_encoders_with_the_pooling_and_side_of_their_family(kind, tmp_path):
    path = tmp_path / ("family-2.x.pth.tar" if kind == "jepa" else "family-2.x.pth")
    written(kind, path)
    encoder, model = load_encoder(str(path)), network(kind)
    fixed = not kind.startswith("v3")
    assert (encoder.name, encoder.side, encoder.fit, encoder.dim) == ("family-2.x", 64 if fixed else 224, "crop", 192)
    assert encoder.network.config == model.config
    image = torch.randint(256, (1, 3, encoder.side, encoder.side), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    pixels = (image / 255 - mean) / std
    expected, close = torch.nn.functional.normalize(model(pixels), dim=1), 5e-3 if encoder.half else 1e-5
    torch.testing.assert_close(encoder(image), expected, atol=close, rtol=close)
    torch.testing.assert_close(encoder.network(pixels), model(pixels), atol=1e-5, rtol=1e-5)
    if kind != "mae-mean":
        assert load_encoder(str(path), size=96, pool="mean").side == 96


@pytest.mark.parametrize("kind", ["jepa", "mae-mean"])
def test_a_pooling_that_a_network_cannot_have_is_told(kind, tmp_path):
    written(kind, tmp_path / "m.pth")
    with pytest.raises(ValueError, match="pool"):
        load_encoder(str(tmp_path / "m.pth"), pool="cls")


@pytest.mark.parametrize("kind", ["v3 swiglu", "jepa", "mae-mean"])
def test_own_files_bear_the_official_names_too(kind, tmp_path):
    model = network(kind)
    save_weights(tmp_path / "m.safetensors", model, 64)
    assert load_file(tmp_path / "m.safetensors").keys() == export(model).keys()
    encoder = load_encoder(str(tmp_path / "m.safetensors"))
    assert encoder.network.config == model.config
    torch.testing.assert_close(encoder.network(wavy(64, 64)), model(wavy(64, 64)), atol=0.02, rtol=0.02)  # float16
    if kind == "v3 swiglu":
        assert torch.equal(encoder.network.rope_embed.periods, model.rope_embed.periods)


def test_fixed_positions_do_not_learn_and_are_resized_to_any_grid():
    model = VisionTransformer(VitConfig(**KINDS["mae-cls"])).train()
    assert not model.pos_embed.requires_grad
    assert model.tokens(torch.randn(1, 3, 48, 80)).shape == (1, 1 + 15, 192)
    with pytest.raises(ValueError, match="without a class token"):
        VitConfig(class_token=False)
