"""Golden numbers of I-JEPA's and MAE's own transformers, for the ordinary tests: tensors by formula, outputs by their modules.

    python -m tests.embedder.golden_jepa_mae --ijepa DIR --mae DIR --timm TIMM

DIRs as in compare_jepa_mae. Prints what GOLDEN holds: of a picture of 64 x 64 pixels, through two blocks 192 wide, the first
four values of I-JEPA's patches 0 and 7, and of MAE's feature, of its class token and of the mean of its patches.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from torch import nn

from tests.embedder.compare_jepa_mae import module, old_timm
from tests.embedder.comparing import few, filled, wavy

GOLDEN = {  # what is told of it above
    "jepa": ((-1.414199, -0.24561, 1.439917, 0.976529), (-1.346119, -0.543133, 1.325685, 1.144858)),
    "mae-cls": ((-1.205248, -1.16408, 1.514368, 1.277814),),
    "mae-mean": ((-1.27129, -0.554845, 1.596352, 1.233398),),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("ijepa", "mae", "timm"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    old_timm(args.timm)
    shape = {"patch_size": 16, "embed_dim": 192, "depth": 2, "num_heads": 3, "mlp_ratio": 4, "qkv_bias": True}
    shape["norm_layer"] = partial(nn.LayerNorm, eps=1e-6)
    mae = module(args.mae, "models_vit").VisionTransformer
    made = {"jepa": module(args.ijepa, "src.models.vision_transformer").VisionTransformer(img_size=[64], **shape)}
    made |= {f"mae-{kind}": mae(img_size=64, global_pool=kind == "mean", **shape) for kind in ("cls", "mean")}
    for kind, model in made.items():
        model.load_state_dict(filled(model.state_dict()))
        with torch.inference_mode():
            told = model.eval()(wavy(64, 64))[0] if kind == "jepa" else model.eval().forward_features(wavy(64, 64))
        parts = (told[0], told[7]) if kind == "jepa" else (told[0],)
        print(f'    "{kind}": {few(*parts)},')


if __name__ == "__main__":
    main()
