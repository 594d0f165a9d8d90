"""Golden numbers of DINOv2's own transformer, for the ordinary tests: tensors by formula, outputs by the authors' modules.

    python -m tests.embedder.golden_dinov2 --dinov2 DIR

DIR is a working tree of facebookresearch/dinov2. Prints what GOLDEN holds: of a picture of 42 x 98 pixels, through two blocks
192 wide whose positions are stored for 70 x 70, the first four values of the class token and of patch 7.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

GOLDEN = {  # (feed-forward, registers): class token, patch 7
    ("mlp", 0): ((-0.809693, -0.95766, 1.396694, 1.209155), (-1.181508, -1.062092, 1.980077, 0.538625)),
    ("swiglu", 0): ((-0.276629, -1.771742, 0.129155, 1.308571), (-0.762473, -1.732319, 1.104789, 0.205834)),
    ("mlp", 4): ((-0.945325, -0.661873, 1.232165, 1.153553), (-1.309827, -0.927825, 2.135028, 0.391742)),
    ("swiglu", 4): ((-0.537548, -1.533359, -0.643087, 0.896592), (-0.982603, -1.579228, 1.247213, 0.052278)),
}
ONES = ("norm.weight", "norm1.weight", "norm2.weight", "gamma")


@torch.no_grad()
def fill(model: nn.Module) -> nn.Module:
    """Every tensor a wave of its own, by its place among the sorted names; gains are about 1."""
    for number, (name, tensor) in enumerate(sorted(model.named_parameters())):
        wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 0.37 + number) * 0.05
        tensor.copy_(wave.reshape(tensor.shape) + (1.0 if name.endswith(ONES) else 0.0))
    return model.eval()


def picture() -> Tensor:
    return torch.sin(torch.arange(3 * 42 * 98, dtype=torch.float64) * 0.11).reshape(1, 3, 42, 98).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dinov2", type=Path, required=True)
    sys.path.insert(0, str(parser.parse_args().dinov2))
    warnings.filterwarnings("ignore")
    from dinov2.models import vision_transformer as theirs  # type: ignore[import-not-found]

    for ffn, registers in GOLDEN:
        model = theirs.DinoVisionTransformer(
            embed_dim=192, depth=2, num_heads=3, mlp_ratio=4, patch_size=14, img_size=70, init_values=1.0, block_chunks=0,
            block_fn=partial(theirs.Block, attn_class=theirs.MemEffAttention), num_register_tokens=registers,
            ffn_layer="swiglufused" if ffn == "swiglu" else "mlp", interpolate_antialias=bool(registers),
            interpolate_offset=0.0 if registers else 0.1,
        )  # fmt: skip
        with torch.inference_mode():
            told = fill(model).forward_features(picture())
        parts = (told["x_norm_clstoken"][0, :4], told["x_norm_patchtokens"][0, 7, :4])
        print((ffn, registers), tuple(tuple(round(value, 6) for value in part.tolist()) for part in parts))


if __name__ == "__main__":
    main()
