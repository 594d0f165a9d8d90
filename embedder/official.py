"""Official checkpoints as this project's transformer, and back: what a file is, is read from its tensors alone.

Released backbones and training checkpoints of DINOv2 (with and without registers) and DINOv3 (every ViT), I-JEPA (the target
encoder, which is what its authors evaluate) and MAE (the encoder of pre-trained and fine-tuned files). Sources of the layouts:
dinov2 and dinov3/models/vision_transformer.py and hub/backbones.py, ijepa/src/helper.py, mae/models_mae.py and models_vit.py.
"""

from __future__ import annotations

import argparse
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curation.paths import one_line
from embedder.vit import VisionTransformer
from embedder.vit_config import VARIANTS, VitConfig

SUFFIXES = (".pth", ".pth.tar")
WRAPPINGS = ("teacher", "target_encoder", "model")  # DINOv2 and DINOv3 in training, I-JEPA, MAE
PREFIXES = ("module.", "backbone.")
# What no encoder of ours has: MAE's decoder and classifier, and the norm of local crops, which DINOv3 never evaluates with.
FOREIGN = re.compile(r"(decoder_|head\.|local_cls_norm\.)")


def read_official(path: Path) -> VisionTransformer:
    """The transformer in a checkpoint file, opened without running code of it.

    Raises ValueError if it is damaged, or holds anything but a known backbone with all of its tensors.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # MAE keeps its arguments beside the tensors
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch raises many kinds for one damaged file
        raise ValueError(f"{path} is not a usable checkpoint: {one_line(error)}") from error
    try:
        return from_tensors(backbone(loaded))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is not a usable checkpoint: {one_line(error)}") from error


def backbone(loaded: Any) -> dict[str, Tensor]:
    """The backbone's tensors under their released names, out of a released file or a training checkpoint."""
    for name in WRAPPINGS:
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
            break
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ValueError("it holds no dictionary of tensors")
    for prefix in PREFIXES:
        if any(key.startswith(prefix) for key in loaded):
            loaded = {key.removeprefix(prefix): value for key, value in loaded.items() if key.startswith(prefix)}
    unchunked = {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key): value for key, value in loaded.items()}
    return {key: value.to(torch.float32, copy=True) for key, value in unchunked.items()}


def from_tensors(tensors: dict[str, Tensor]) -> VisionTransformer:
    """The transformer that these tensors are: all of them, no copies. Raises ValueError for another kind, RuntimeError else."""
    try:
        ours = named(tensors)
        config = config_of(ours, pool_first="fc_norm.weight" in tensors)
    except KeyError as error:
        raise ValueError(f"no known backbone: {error} is missing") from error
    with torch.device("meta"):
        network = VisionTransformer(config)
    network.load_state_dict(ours, assign=True)
    return network


def named(official: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under this project's names; the mask token that I-JEPA and MAE have no use for is zero."""
    masked = "decoder_pos_embed" not in official  # MAE's mask token belongs to its decoder
    kept = {key: value for key, value in official.items() if not FOREIGN.match(key) and (masked or key != "mask_token")}
    ours: dict[str, Tensor] = {}
    for key, value in kept.items():
        if ".mlp.w1." in key:
            ours[key.replace(".w1.", ".w12.")] = torch.cat([value, kept[key.replace(".w1.", ".w2.")]])
        elif ".mlp.w2." not in key:
            ours[key.replace("storage_tokens", "register_tokens").replace("fc_norm.", "norm.")] = value
    width = len(official["patch_embed.proj.weight"])
    return {"mask_token": torch.zeros(1, width), **ours}


def export(model: VisionTransformer) -> dict[str, Tensor]:
    """The model's tensors under the names of the authors whose positions it has: DINOv2, DINOv3, or MAE and I-JEPA."""
    tensors = {key: value.detach() for key, value in model.state_dict().items()}
    if model.config.positions == "sincos":
        del tensors["mask_token"]
    if model.config.pool_first:
        return {re.sub(r"^norm\.", "fc_norm.", key): value for key, value in tensors.items()}
    if model.config.positions != "rope":
        return tensors
    out: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if ".w12." in key:
            out |= {key.replace(".w12.", f".w{n}."): half for n, half in enumerate(value.chunk(2), start=1)}
        else:
            out[key.replace("register_tokens", "storage_tokens")] = value
    return out


def config_of(ours: dict[str, Tensor], pool_first: bool = False) -> VitConfig:
    """The configuration that has these shapes. Raises KeyError for what is missing, ValueError if none has."""
    width, _, patch, _ = ours["patch_embed.proj.weight"].shape
    biases = "all" if "blocks.0.attn.qkv.bias" in ours else "none"
    return VitConfig(
        patch=patch,
        class_token="cls_token" in ours,
        registers=ours["register_tokens"].shape[1] if "register_tokens" in ours else 0,
        qkv_bias="no_key" if "blocks.0.attn.qkv.bias_mask" in ours else biases,
        layerscale=1.0 if "blocks.0.ls1.gamma" in ours else 0.0,
        pool="mean" if pool_first or "cls_token" not in ours else "cls",
        pool_first=pool_first,
        **_positions(ours, patch),
        **_size(ours, width),
    )


def _positions(ours: dict[str, Tensor], patch: int) -> dict[str, Any]:
    """How places are told. Without LayerScale (I-JEPA, MAE) they are fixed."""
    if "rope_embed.periods" in ours:
        return {"positions": "rope", "side": 14 * patch, "rescale": 2.0, "eps": 1e-5}
    grid = int((ours["pos_embed"].shape[1] - ("cls_token" in ours)) ** 0.5)
    return {"positions": "learned" if "blocks.0.ls1.gamma" in ours else "sincos", "side": grid * patch}


def _size(ours: dict[str, Tensor], width: int) -> dict[str, Any]:
    """The variant, and what differs from it."""
    depth = 1 + max(int(key.split(".")[1]) for key in ours if key.startswith("blocks."))
    ffn = "swiglu" if "blocks.0.mlp.w12.weight" in ours else "mlp"
    hidden = ours["blocks.0.mlp.w3.weight" if ffn == "swiglu" else "blocks.0.mlp.fc2.weight"].shape[1]
    periods = ours.get("rope_embed.periods")
    heads = 0 if periods is None else width // (4 * len(periods))
    fitting = [name for name, shape in VARIANTS.items() if shape.width == width and heads in (0, shape.heads)]
    if not fitting:
        raise ValueError(f"no transformer here is {width} wide")
    name = max(fitting, key=lambda name: (VARIANTS[name].ffn, VARIANTS[name].inner) == (ffn, hidden))
    told: dict[str, Any] = {"variant": name, "ffn": "" if VARIANTS[name].ffn == ffn else ffn}
    usual = VitConfig(**told).shape
    return told | {"depth": None if usual.depth == depth else depth, "hidden": 0 if usual.inner == hidden else hidden}
