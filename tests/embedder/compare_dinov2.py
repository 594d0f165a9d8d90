"""Holds `embedder/vit.py` and `embedder/official.py` to the authors' own modules, run from a checkout: nothing of them is kept.

    python -m tests.embedder.compare_dinov2 --dinov2 DIR

DIR is a working tree of facebookresearch/dinov2. Its S, B, L and g (g with --depth blocks, unless --whole) get random
tensors, with and without registers, are written as a released file, and as a training checkpoint with blocks in chunks; both
are read here. Prints the largest difference of class token, patches and intermediate layers, relative to the largest
value, at --sizes; fails above 1e-5, and if what is read from either file, and exported, differs in a bit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from embedder.official import export, read_official
from embedder.vit import VisionTransformer
from tests.embedder.comparing import far, pictures, same, scrambled

ARCHS = {"s": "vit_small", "b": "vit_base", "l": "vit_large", "g": "vit_giant2"}


def reference(arch: str, registers: int, depth: int | None) -> nn.Module:
    from dinov2.models import vision_transformer  # type: ignore[import-not-found]

    how: dict[str, Any] = {
        "patch_size": 14,
        "img_size": 518,
        "init_values": 1.0,
        "block_chunks": 0,
        "num_register_tokens": registers,
    }
    how |= {"ffn_layer": "swiglufused" if arch == "g" else "mlp", "interpolate_antialias": bool(registers)}
    how |= {"interpolate_offset": 0.0 if registers else 0.1}
    if depth and arch == "g":
        model = vision_transformer.DinoVisionTransformer(
            embed_dim=1536, depth=depth, num_heads=24, mlp_ratio=4, **{**how, "block_fn": _block(vision_transformer)}
        )
    else:
        model = getattr(vision_transformer, ARCHS[arch])(**how)
    return scrambled(model)


def _block(module: Any) -> Any:
    from functools import partial

    return partial(module.Block, attn_class=module.MemEffAttention)


def chunked(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """As a training checkpoint: two chunks of blocks, and heads beside them."""
    half = (1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))) // 2
    names = {key: key.split(".") for key in state}
    moved = {
        "backbone." + (".".join(["blocks", str(int(n[1]) // half), *n[1:]]) if n[0] == "blocks" else key): state[key]
        for key, n in names.items()
    }
    return {"teacher": moved | {"dino_head.mlp.0.weight": torch.zeros(2, 2)}}


@torch.inference_mode()
def worst(theirs: nn.Module, ours: VisionTransformer, sizes: list[str]) -> float:
    most = 0.0
    for size in sizes:
        image, skip = pictures(size), ours.config.prefix
        told, tokens = theirs.forward_features(image), ours.tokens(image)
        pairs = [(told["x_norm_clstoken"], tokens[:, 0]), (told["x_norm_patchtokens"], tokens[:, skip:])]
        layers = theirs.get_intermediate_layers(image, n=2, reshape=True, return_class_token=True)
        mine = ours.get_intermediate_layers(image, n=2, reshape=True, return_class_token=True)
        most = max(most, far(pairs + [pair for a, b in zip(layers, mine, strict=True) for pair in zip(a, b, strict=True)]))
    return most


def read(state: dict[str, Any], folder: str) -> VisionTransformer:
    torch.save(state, Path(folder) / "model.pth")
    return read_official(Path(folder) / "model.pth").eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dinov2", type=Path, required=True)
    parser.add_argument("--archs", default="s,b,l,g")
    parser.add_argument("--registers", default="0,4")
    parser.add_argument("--sizes", default="518,224,98,98x154")
    parser.add_argument("--depth", type=int, default=4, help="blocks of g")
    parser.add_argument("--whole", action="store_true", help="g with all of its 40 blocks: 10 GiB")
    args = parser.parse_args()
    sys.path.insert(0, str(args.dinov2))
    warnings.filterwarnings("ignore")
    failed = False
    for arch in args.archs.split(","):
        for registers in map(int, args.registers.split(",")):
            theirs = reference(arch, registers, None if args.whole else args.depth)
            with tempfile.TemporaryDirectory() as folder:
                state = theirs.state_dict()
                equal = same(export(read(chunked(state), folder)), state)
                ours = read(state, folder)
            equal &= same(export(ours), state)
            found = worst(theirs, ours, args.sizes.split(","))
            failed |= not equal or found > 1e-5
            told = "equal" if equal else "DIFFER"
            print(
                f"{arch} ({ours.config.blocks} blocks) registers {registers}: {found:.1e}; tensors of both files {told}",
                flush=True,
            )
            del theirs, ours, state
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
