"""Holds `embedder/vit.py` and `embedder/official.py` to the authors' own modules, run from a checkout: nothing of them is kept.

    python -m tests.embedder.compare_dinov2 --dinov2 DIR

DIR is a working tree of facebookresearch/dinov2. Its S, B, L and g (g with --depth blocks, unless --whole) get random
tensors, with and without registers, are written as a released file, and as a training checkpoint with blocks in chunks; both
are read here. Prints the largest difference of class token, patches and intermediate layers, relative to the largest
value, at 518, 224, 98 pixels and at 98 x 154; fails above 1e-5.
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

from embedder.official import read_official

ARCHS = {"s": "vit_small", "b": "vit_base", "l": "vit_large", "g": "vit_giant2"}
SIZES = ((518, 518), (224, 224), (98, 98), (98, 154))


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
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02 + (parameter.ndim == 1))
    return model.eval()


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
def worst(theirs: nn.Module, file: Path) -> float:
    ours, most = read_official(file).eval(), 0.0
    for size in SIZES:
        image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
        told = theirs.forward_features(image)
        skip = 1 + ours.config.registers
        tokens = ours.tokens(image)
        pairs = [(told["x_norm_clstoken"], tokens[:, 0]), (told["x_norm_patchtokens"], tokens[:, skip:])]
        layers = theirs.get_intermediate_layers(image, n=2, reshape=True, return_class_token=True)
        mine = ours.get_intermediate_layers(image, n=2, reshape=True, return_class_token=True)
        pairs += [pair for a, b in zip(layers, mine, strict=True) for pair in zip(a, b, strict=True)]
        most = max(most, *(float((a - b).abs().max() / a.abs().max()) for a, b in pairs))
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dinov2", type=Path, required=True)
    parser.add_argument("--archs", default="s,b,l,g")
    parser.add_argument("--depth", type=int, default=4, help="blocks of g")
    parser.add_argument("--whole", action="store_true", help="g with all of its 40 blocks: 10 GiB")
    args = parser.parse_args()
    sys.path.insert(0, str(args.dinov2))
    warnings.filterwarnings("ignore")
    failed = False
    for arch in args.archs.split(","):
        for registers in (0, 4):
            theirs = reference(arch, registers, None if args.whole else args.depth)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "model.pth"
                state = theirs.state_dict()
                differences = []
                for kind in (state, chunked(state)):
                    torch.save(kind, file)
                    differences.append(worst(theirs, file))
            failed |= max(differences) > 1e-5
            print(f"{arch} registers {registers}: released {differences[0]:.1e}, training {differences[1]:.1e}", flush=True)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
