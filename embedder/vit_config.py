"""What fixes a transformer's shapes: sizes by name, and everything that may differ from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from embedder.layers import Ffn, QkvBias, Variant

# Sources: ti, DeiT (arXiv 2012.12877 table 1); wee, timm's vit_wee_patch16_reg1_gap_256; s, b, l, DINOv2 (arXiv 2304.07193
# table 17, whose 18 blocks for B is a misprint: code and checkpoint have 12); h, ViT-H of arXiv 2010.11929 table 1; g, DINOv2
# with SwiGLU; giant, ViT-G of ijepa/src/models/vision_transformer.py; the plus sizes and 7b, dinov3/hub/backbones.py.
VARIANTS = {
    "ti": Variant(width=192, depth=12, heads=3),
    "wee": Variant(width=256, depth=14, heads=4),
    "s": Variant(width=384, depth=12, heads=6),
    "splus": Variant(width=384, depth=12, heads=6, ffn="swiglu", hidden=1536),
    "b": Variant(width=768, depth=12, heads=12),
    "l": Variant(width=1024, depth=24, heads=16),
    "lplus": Variant(width=1024, depth=24, heads=16, ffn="swiglu", hidden=4096),
    "h": Variant(width=1280, depth=32, heads=16),
    "hplus": Variant(width=1280, depth=32, heads=20, ffn="swiglu", hidden=5120),
    "giant": Variant(width=1408, depth=40, heads=16, hidden=6144),
    "g": Variant(width=1536, depth=40, heads=24, ffn="swiglu"),
    "7b": Variant(width=4096, depth=40, heads=32, ffn="swiglu", hidden=8192),
}
CHOICES = {
    "positions": ("learned", "rope", "sincos"),
    "pool": ("cls", "mean", "cls+mean", "grid"),
    "ffn": ("", "mlp", "swiglu"),
    "qkv_bias": ("all", "no_key", "none"),
    "drop_path_rule": ("uniform", "linear"),
}


@dataclass(frozen=True, kw_only=True)
class VitConfig:
    """Everything that fixes the shapes of a `VisionTransformer`."""

    variant: str = "ti"
    patch: int = 16  # pixels
    side: int = 224  # pixels, the size whose grid `pos_embed` is stored for; with "rope" no more than the usual size
    registers: int = 0
    class_token: bool = True
    depth: int | None = None  # blocks; None is the variant's own
    ffn: Literal["", "mlp", "swiglu"] = ""  # "" is the variant's own
    hidden: int = 0  # width inside the feed-forward; 0 is the variant's, or the rule of the `ffn` given here
    positions: Literal["learned", "rope", "sincos"] = "learned"  # added and trained; turned (DINOv3); added and fixed (MAE)
    rescale: float = 1.0  # "rope", in training: coordinates times a factor drawn log-uniformly from 1 / rescale to rescale
    qkv_bias: QkvBias = "all"
    eps: float = 1e-6  # of the norms
    stem: bool = False  # strided 3x3 convolutions before the projection
    pool: Literal["cls", "mean", "cls+mean", "grid"] = "cls"
    pool_first: bool = False  # "mean" is taken before the last norm (MAE's fine-tuned networks)
    cells: int = 3  # "grid" joins the means of cells x cells parts of the picture, so that layout is kept
    project: int = 0  # output width of a last linear layer; 0 is none
    layerscale: float = 1.0  # initial gamma; DINOv2 trains from 1e-5 and loads over 1.0; 0 is no LayerScale
    drop_path: float = 0.0  # share of the images that each residual branch leaves out in training
    drop_path_rule: Literal["uniform", "linear"] = "uniform"  # the same for all blocks, or rising from 0
    checkpointing: bool = False  # in training, compute a block again for its gradient instead of keeping what it made

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"unknown ViT variant {self.variant!r}; known: {', '.join(VARIANTS)}")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(filter(None, known))}, not {getattr(self, name)!r}")
        if min(self.patch, self.side) < 1 or (self.depth is not None and self.depth < 1):
            raise ValueError(f"patch, side and depth are 1 or more, not {self.patch}, {self.side} and {self.depth}")
        if self.side % self.patch:
            raise ValueError(f"side {self.side} is not a multiple of patch {self.patch}")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path is a share below 1, not {self.drop_path}")
        if self.rescale < 1:
            raise ValueError(f"rescale is a factor from 1, not {self.rescale}")
        if not self.class_token and "cls" in self.pool:
            raise ValueError(f"without a class token pool cannot be {self.pool!r}")

    @property
    def grid(self) -> int:
        """Patches along one side of the stored grid."""
        return self.side // self.patch

    @property
    def prefix(self) -> int:
        """Tokens before the patches."""
        return int(self.class_token) + self.registers

    @property
    def shape(self) -> Variant:
        """The variant, with what differs from it."""
        known = VARIANTS[self.variant]
        ffn: Ffn = self.ffn or known.ffn
        hidden = self.hidden or (known.hidden if ffn == known.ffn else 0)
        depth = self.depth or known.depth
        return replace(known, depth=depth, ffn=ffn, hidden=hidden, qkv_bias=self.qkv_bias, eps=self.eps)

    @property
    def blocks(self) -> int:
        """Number of transformer blocks."""
        return self.shape.depth

    @property
    def drops(self) -> list[float]:
        """What each block leaves out in training."""
        steps = max(1, self.blocks - 1)
        linear = self.drop_path_rule == "linear"
        return [self.drop_path * (number / steps if linear else 1.0) for number in range(self.blocks)]
