"""Holds `embedder/vit.py`, `rope.py` and `official.py` to DINOv3's own modules, run from a checkout: nothing is kept of them.

    python -m tests.embedder.compare_dinov3 --dinov3 DIR [--archs s,splus,b,l,hplus] [--sizes 224,512,96,96x160]

DIR is a working tree of facebookresearch/dinov3. Its transformers, as its hub builds them, get random tensors, are written
as a released file, and are read here. Prints the largest difference of class token, registers, patches and intermediate
layers, relative to the largest value, and of a packed pair of sizes; fails above 1e-5, and if what is exported differs from
the released tensors in a bit.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn

from embedder.official import export, read_official
from embedder.vit import VisionTransformer
from tests.embedder.comparing import far, pictures, same, scrambled

HUB = {"s": "vits16", "splus": "vits16plus", "b": "vitb16", "l": "vitl16", "lplus": "vitl16plus", "hplus": "vith16plus"}


def reference(arch: str) -> nn.Module:
    """Their network, as their hub builds it."""
    return scrambled(getattr(importlib.import_module("dinov3.hub.backbones"), f"dinov3_{HUB[arch]}")(pretrained=False))


@torch.inference_mode()
def outputs(theirs: nn.Module, ours: VisionTransformer, size: str) -> float:
    image, prefix = pictures(size), ours.config.prefix
    told, tokens = theirs.forward_features(image), ours.tokens(image)
    pairs = [(told["x_norm_clstoken"], tokens[:, 0]), (told["x_storage_tokens"], tokens[:, 1:prefix])]
    pairs.append((told["x_norm_patchtokens"], tokens[:, prefix:]))
    how = {"n": 4, "reshape": True, "return_class_token": True, "return_extra_tokens": True}
    layers, mine = theirs.get_intermediate_layers(image, **how), ours.get_intermediate_layers(image, **how)
    return far(pairs + [pair for a, b in zip(layers, mine, strict=True) for pair in zip(a, b, strict=True)])


@torch.inference_mode()
def packed(theirs: nn.Module, ours: VisionTransformer) -> float:
    """Two sizes, one of them with hidden patches, as one sequence."""
    images = [pictures("224", 2), pictures("96x112", 3)]
    masks = [torch.rand(2, 196, generator=torch.Generator().manual_seed(2)) < 0.4, None]
    told = theirs.forward_features(images, masks)
    mine = ours.packed(images, masks)
    return far([(told[n]["x_norm_patchtokens"], mine[n][:, ours.config.prefix :]) for n in (0, 1)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dinov3", type=Path, required=True)
    parser.add_argument("--archs", default="s,splus,b,l,hplus")
    parser.add_argument("--sizes", default="224,512,96,96x160")
    args = parser.parse_args()
    sys.path.insert(0, str(args.dinov3))
    warnings.filterwarnings("ignore")
    failed = False
    for arch in args.archs.split(","):
        theirs = reference(arch)
        with tempfile.TemporaryDirectory() as folder:
            torch.save(theirs.state_dict(), Path(folder) / "model.pth")
            ours = read_official(Path(folder) / "model.pth").eval()
        equal = same(export(ours), theirs.state_dict())
        found = {size: outputs(theirs, ours, size) for size in args.sizes.split(",")} | {"packed": packed(theirs, ours)}
        failed |= not equal or max(found.values()) > 1e-5
        numbers = ", ".join(f"{size} {value:.1e}" for size, value in found.items())
        print(f"{arch} ({ours.config.blocks} blocks): {numbers}; exported {'equal' if equal else 'DIFFERS'}", flush=True)
        del theirs, ours
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
