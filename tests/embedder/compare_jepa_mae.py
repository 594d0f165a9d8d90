"""Holds `embedder/vit.py` and `embedder/official.py` to the modules of I-JEPA and of MAE, run from checkouts, nothing kept.

    pip install --no-deps --target TIMM timm==0.3.2
    python -m tests.embedder.compare_jepa_mae --ijepa DIR --mae DIR --timm TIMM [--kinds jepa-h14,jepa-h16,mae-b,mae-h,...]

DIRs are working trees of facebookresearch/ijepa and facebookresearch/mae, which asks for that timm. Random tensors are
written as the authors' training writes them (wrappings, predictor, decoder, optimiser, arguments), and are read here.
Prints the largest difference of tokens, of the last layers and of the pooled feature at each side, relative to the largest
value; fails above 1e-5, and if what is exported differs from the encoder's tensors in a bit. I-JEPA's own code takes no
other side than its own; MAE's takes other squares by a tool of its own, which is run here.
"""

from __future__ import annotations

import argparse
import collections.abc
import importlib
import sys
import tempfile
import types
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn

from embedder.official import export, read_official
from embedder.vit import VisionTransformer
from tests.embedder.comparing import far, pictures, same, scrambled

JEPA = {"b": "base", "l": "large", "h": "huge", "g": "giant"}
MAE = {"b": ("base", 16, (224, 512, 96)), "l": ("large", 16, (224,)), "h": ("huge", 14, (224, 518, 98))}


def old_timm(root: Path) -> None:
    """timm 0.3.2 under a torch that lost one of its modules, and without torchvision, which its data folder asks for."""
    sys.path.append(str(root))
    six = types.ModuleType("torch._six")
    six.container_abcs = collections.abc  # type: ignore[attr-defined]
    sys.modules |= {"torch._six": six, "timm.data": MagicMock()}


def module(root: Path, name: str) -> Any:
    """A module of a checkout, imported as its own scripts do."""
    sys.path.insert(0, str(root))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(root))


def jepa(root: Path, size: str, file: Path) -> nn.Module:
    """The target encoder, in the file that their training writes."""
    theirs = module(root, "src.models.vision_transformer")
    made, patch = getattr(theirs, f"vit_{JEPA[size[0]]}"), int(size[1:])
    encoder = scrambled(made(img_size=[448 if size == "h16" else 224], patch_size=patch))
    wrapped = {f"module.{key}": value for key, value in encoder.state_dict().items()}
    zeros = {key: torch.zeros(1).expand(value.shape) for key, value in wrapped.items()}
    told = {"encoder": zeros, "predictor": {"module.mask_token": torch.zeros(1, 1, 384)}, "target_encoder": wrapped}
    told |= {"opt": {"state": {}, "param_groups": [{"lr": 1e-3}]}, "scaler": None, "epoch": 300, "loss": 0.1, "lr": 1e-3}
    torch.save(told, file)
    return encoder


def mae(root: Path, size: str, file: Path, mean: bool) -> nn.Module:
    """The network of their fine-tuning: its checkpoint where it pools by the mean, else the tensors inside a pre-training's."""
    name, patch, _ = MAE[size]
    network = scrambled(getattr(module(root, "models_vit"), f"vit_{name}_patch{patch}")(num_classes=1000, global_pool=mean))
    tensors = network.state_dict()
    if not mean:
        decoder = {"mask_token": (1, 1, 512), "decoder_pos_embed": (1, 257, 512), "decoder_norm.weight": (512,)}
        tensors = {key: value for key, value in tensors.items() if not key.startswith("head.")}
        tensors |= {key: torch.zeros(shape) for key, shape in decoder.items()}
    torch.save({"model": tensors, "epoch": 1, "args": argparse.Namespace(lr=1e-3), "scaler": {}}, file)
    return network


def bring(root: Path, network: nn.Module, side: int) -> None:
    """MAE's network to another square side, by its own tool."""
    tensors = {"pos_embed": network.pos_embed.data}
    edge, patch = network.patch_embed, network.patch_embed.patch_size[0]
    edge.img_size, edge.num_patches = (side, side), (side // patch) ** 2
    network.pos_embed = nn.Parameter(torch.zeros(1, 1 + edge.num_patches, network.pos_embed.shape[2]))
    module(root, "util.pos_embed").interpolate_pos_embed(network, tensors)
    network.pos_embed.data = tensors["pos_embed"]


def layers(theirs: nn.Module, image: Tensor, classes: bool) -> list[Tensor]:
    """What their blocks make of a picture."""
    x = theirs.patch_embed(image)
    if classes:
        x = torch.cat([theirs.cls_token, x], dim=1)
    x = x + theirs.pos_embed
    return [x := block(x) for block in theirs.blocks]


@torch.inference_mode()
def outputs(theirs: nn.Module, ours: VisionTransformer, side: int) -> float:
    image, classes = pictures(str(side)), ours.config.class_token
    told = theirs.forward_features(image) if classes else theirs(image)
    pairs = [(told, ours.pooled(image) if classes else ours.tokens(image))]
    mine = ours.get_intermediate_layers(image, 4, norm=False)
    return far(pairs + [(a[:, int(classes) :], b) for a, b in zip(layers(theirs, image, classes)[-4:], mine, strict=True)])


def compared(kind: str, args: argparse.Namespace) -> bool:
    """Print one line; whether all is equal."""
    family, size, *mean = kind.split("-")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ("m.pth.tar" if family == "jepa" else "m.pth")
        theirs = jepa(args.ijepa, size, file) if family == "jepa" else mae(args.mae, size, file, bool(mean))
        ours = read_official(file).eval()
    equal = same(export(ours), {key: x for key, x in theirs.state_dict().items() if not key.startswith("head.")})
    native, found = ours.config.side, {}
    for side in (native,) if family == "jepa" else MAE[size][2]:
        if side != native:
            bring(args.mae, theirs, side)
        found[side] = outputs(theirs, ours, side)
        if side != native:
            theirs.pos_embed = nn.Parameter(ours.pos_embed.data)
    numbers = ", ".join(f"{side} {value:.1e}" for side, value in found.items())
    print(f"{kind} ({ours.config.blocks} blocks): {numbers}; exported {'equal' if equal else 'DIFFERS'}", flush=True)
    return equal and max(found.values()) <= 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("ijepa", "mae", "timm"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--kinds", default="jepa-b16,jepa-h14,jepa-h16,mae-b,mae-b-mean,mae-l,mae-h,mae-h-mean")
    args = parser.parse_args()
    old_timm(args.timm)
    equal = [compared(kind, args) for kind in args.kinds.split(",")]
    sys.exit(int(not all(equal)))


if __name__ == "__main__":
    main()
