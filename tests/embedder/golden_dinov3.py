"""Golden numbers of DINOv3's own transformer, for the ordinary tests: tensors by formula, outputs by the authors' modules.

    python -m tests.embedder.golden_dinov3 --dinov3 DIR

DIR is a working tree of facebookresearch/dinov3. Prints what GOLDEN holds: of a picture of 48 x 112 pixels, through two blocks
192 wide, the first four values of the class token, of the last register and of patch 7.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import torch

from tests.embedder.comparing import few, filled, wavy

GOLDEN = {  # feed-forward: class token, last register, patch 7
    "mlp": (
        (-0.842033, -0.844743, 1.327532, 1.255975),
        (-1.012907, -0.985038, 1.148931, 1.381861),
        (1.374625, -0.115424, -1.359895, -0.378374),
    ),
    "swiglu": (
        (-0.798924, -1.266545, 0.67038, 1.369965),
        (-0.428965, -1.499259, 1.1218, 1.017562),
        (-0.783694, 0.84875, 1.14727, -0.591455),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dinov3", type=Path, required=True)
    sys.path.insert(0, str(parser.parse_args().dinov3))
    warnings.filterwarnings("ignore")
    from dinov3.models import vision_transformer as theirs  # type: ignore[import-not-found]

    for ffn in ("mlp", "swiglu"):
        model = theirs.DinoVisionTransformer(
            embed_dim=192, depth=2, num_heads=3, patch_size=16, ffn_ratio=6 if ffn == "swiglu" else 4, ffn_layer=ffn,
            n_storage_tokens=4, mask_k_bias=True, layerscale_init=1e-5, norm_layer="layernormbf16",
            pos_embed_rope_rescale_coords=2, pos_embed_rope_dtype="fp32",
        )  # fmt: skip
        model.init_weights()
        model.load_state_dict(filled(model.state_dict()))
        with torch.inference_mode():
            told = model.eval().forward_features(wavy(48, 112))
        parts = (told["x_norm_clstoken"][0], told["x_storage_tokens"][0, -1], told["x_norm_patchtokens"][0, 7])
        print(f"    {ffn!r}: {few(*parts)},".replace("'", '"'))


if __name__ == "__main__":
    main()
