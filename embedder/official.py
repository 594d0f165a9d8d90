"""Official DINOv2 checkpoints as this project's transformer: what they are is read from the tensors alone.

Backbones as released (`dinov2_vits14_pretrain.pth`, ... `_reg4_`), and training checkpoints (`teacher`, `backbone.`, blocks in
chunks). Source of the layouts: dinov2/models/vision_transformer.py, dinov2/hub/backbones.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from embedder.vit import VARIANTS, VisionTransformer, VitConfig

SUFFIXES = (".pth",)


def read_official(path: Path) -> VisionTransformer:
    """The transformer in a checkpoint file, opened without running code of it.

    Raises ValueError if it is damaged, or holds anything but a DINOv2 backbone with all of its tensors.
    """
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises many kinds for one damaged file
        raise ValueError(f"{path} is not a usable checkpoint: {str(error).strip().splitlines()[0]}") from error
    try:
        return from_tensors(backbone(loaded))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is not a usable checkpoint: {str(error).strip().splitlines()[0]}") from error


def backbone(loaded: Any) -> dict[str, Tensor]:
    """The backbone's tensors under their released names, out of a released file or a training checkpoint."""
    if isinstance(loaded, dict) and isinstance(loaded.get("teacher"), dict):
        loaded = loaded["teacher"]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ValueError("it holds no dictionary of tensors")
    if any(key.startswith("backbone.") for key in loaded):
        loaded = {key.removeprefix("backbone."): value for key, value in loaded.items() if key.startswith("backbone.")}
    return {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key): value.float() for key, value in loaded.items()}


def from_tensors(tensors: dict[str, Tensor]) -> VisionTransformer:
    """The transformer that these tensors are, all of them used. Raises ValueError for another kind, RuntimeError else."""
    network = VisionTransformer(config_of(tensors))
    network.load_state_dict(tensors)
    return network


def config_of(tensors: dict[str, Tensor]) -> VitConfig:
    """The configuration that has these shapes. Raises ValueError if none has."""
    try:
        width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        grid = int((tensors["pos_embed"].shape[1] - 1) ** 0.5)
        depth = 1 + max(int(key.split(".")[1]) for key in tensors if key.startswith("blocks."))
        ffn = "swiglu" if "blocks.0.mlp.w12.weight" in tensors else "mlp"
        registers = tensors["register_tokens"].shape[1] if "register_tokens" in tensors else 0
    except (KeyError, ValueError) as error:
        raise ValueError(f"no DINOv2 backbone: {error} is missing") from error
    fitting = [name for name, shape in VARIANTS.items() if shape.width == width and shape.ffn == ffn]
    if not fitting:
        raise ValueError(f"no known transformer is {width} wide with {ffn}")
    other_depth = None if VARIANTS[fitting[0]].depth == depth else depth
    return VitConfig(variant=fitting[0], patch=patch, side=grid * patch, registers=registers, depth=other_depth)


def export(model: VisionTransformer) -> dict[str, Tensor]:
    """The model's tensors under their released names; they are its own."""
    return {key: value.detach() for key, value in model.state_dict().items() if not key.startswith("project.")}
