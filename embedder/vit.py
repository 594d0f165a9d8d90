"""The project's vision transformer: one class for every size, in the official DINOv2 key layout.

What is special: pre-norm blocks with LayerScale, registers placed after the class token and never given a position,
MLP or SwiGLU feed-forward, learned positions resized bicubically, and three additions for the small shipped model:
a convolutional stem in place of the single patch projection, pooling in cells, and a linear layer after it.

Several batches of images go through the blocks as one sequence (`packed`): norms, projections and feed-forward see all of
their tokens at once, attention stays within an image. Stochastic depth leaves out images, not products (DINOv2 paper,
section 5): each residual branch runs on a random subset of every batch, and counts for as much more.

Letters: B images, M tokens of all images, H W pixels, P patches, T tokens (1 class + R registers + P patches), D width,
N heads, F hidden width, E output width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from embedder.layers import Block, Groups, Variant

# Sources: ti, DeiT (arXiv 2012.12877 table 1); wee, timm's vit_wee_patch16_reg1_gap_256; s, b, l, DINOv2 (arXiv 2304.07193
# table 17, whose 18 blocks for B is a misprint: code and checkpoint have 12); h, ViT-H of arXiv 2010.11929 table 1; g, DINOv2
# with SwiGLU.
VARIANTS = {
    "ti": Variant(width=192, depth=12, heads=3),
    "wee": Variant(width=256, depth=14, heads=4),
    "s": Variant(width=384, depth=12, heads=6),
    "b": Variant(width=768, depth=12, heads=12),
    "l": Variant(width=1024, depth=24, heads=16),
    "h": Variant(width=1280, depth=32, heads=16),
    "g": Variant(width=1536, depth=40, heads=24, ffn="swiglu"),
}


@dataclass(frozen=True, kw_only=True)
class VitConfig:
    """Everything that fixes the shapes of a `VisionTransformer`."""

    variant: str = "ti"
    patch: int = 16  # pixels
    side: int = 224  # pixels, the size whose grid `pos_embed` is stored for
    registers: int = 0
    depth: int | None = None  # blocks; None is the variant's own
    stem: bool = False  # strided 3x3 convolutions before the projection
    pool: Literal["cls", "mean", "grid"] = "cls"
    cells: int = 3  # "grid" joins the means of cells x cells parts of the picture, so that layout is kept
    project: int = 0  # output width of a last linear layer; 0 is none
    layerscale: float = 1.0  # initial gamma; DINOv2 trains from 1e-5 and loads over 1.0
    drop_path: float = 0.0  # share of the images that each residual branch leaves out in training
    drop_path_rule: Literal["uniform", "linear"] = "uniform"  # the same for all blocks, or rising from 0
    checkpointing: bool = False  # in training, compute a block again for its gradient instead of keeping what it made

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"unknown ViT variant {self.variant!r}; known: {', '.join(VARIANTS)}")
        if self.side % self.patch:
            raise ValueError(f"side {self.side} is not a multiple of patch {self.patch}")
        if not 0 <= self.drop_path < 1 or self.drop_path_rule not in ("uniform", "linear"):
            raise ValueError(f"drop_path is a share below 1, uniform or linear, not {self.drop_path}, {self.drop_path_rule!r}")

    @property
    def grid(self) -> int:
        """Patches along one side of the stored grid."""
        return self.side // self.patch

    @property
    def blocks(self) -> int:
        """Number of transformer blocks."""
        return self.depth or VARIANTS[self.variant].depth


class PatchEmbed(nn.Module):
    """Pixels to patch tokens: one strided convolution, or a stem of strided 3x3 ones followed by a 1x1 projection.

    The stem halves the size log2(patch) times, doubling the channels up to the width (arXiv 2106.14881).
    """

    def __init__(self, width: int, patch: int, stem: bool) -> None:
        super().__init__()
        self.stem = _conv_stem(width, patch) if stem else nn.Identity()
        self.proj = nn.Conv2d(width, width, 1) if stem else nn.Conv2d(3, width, patch, patch)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        return self.proj(self.stem(image_B3HW))  # (B, D, H/patch, W/patch)


def _conv_stem(width: int, patch: int) -> nn.Sequential:
    steps = patch.bit_length() - 1
    if patch != 1 << steps:
        raise ValueError(f"a convolutional stem needs a patch that is a power of two, not {patch}")
    channels = [3] + [width >> (steps - 1 - i) for i in range(steps)]
    layers: list[nn.Module] = []
    for before, after in zip(channels, channels[1:], strict=False):
        layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


class VisionTransformer(nn.Module):
    """Images to tokens, and to one vector per image."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        shape = VARIANTS[config.variant]
        self.config = config
        self.width = shape.width
        self.pooled_dim = shape.width * (config.cells**2 if config.pool == "grid" else 1)
        self.dim = config.project or self.pooled_dim
        self.patch_embed = PatchEmbed(shape.width, config.patch, config.stem)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.grid**2, shape.width))
        self.mask_token = nn.Parameter(torch.zeros(1, shape.width))
        if config.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, shape.width))
        drops = _drops(config)
        self.blocks = nn.ModuleList(Block(shape, config.layerscale, drop) for drop in drops)
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)
        self.project = nn.Linear(self.pooled_dim, config.project) if config.project else nn.Identity()
        _initialise(self)

    def forward(self, image_B3HW: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """Returns (B, E): the pooled and, where configured, projected feature; not normalised."""
        return self.project(self.pooled(image_B3HW, kept_BK))

    def pooled(self, image_B3HW: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """Returns (B, pooled_dim), after the last norm: class token, mean of the patches, or means of the cells."""
        tokens_BTD = self.tokens(image_B3HW, kept_BK)
        if self.config.pool == "cls":
            return tokens_BTD[:, 0]
        patches_BPD = tokens_BTD[:, 1 + self.config.registers :]
        if self.config.pool == "mean":
            return patches_BPD.mean(1)
        rows = image_B3HW.shape[2] // self.config.patch
        map_BDhw = patches_BPD.transpose(1, 2).unflatten(2, (rows, -1))
        return functional.adaptive_avg_pool2d(map_BDhw, self.config.cells).flatten(1)

    def packed(self, images: Sequence[Tensor], masks: Sequence[Tensor | None]) -> list[Tensor]:
        """`tokens` of several batches, each of its own size, computed as one sequence."""
        parts = [self._embedded(image, None, mask) for image, mask in zip(images, masks, strict=True)]
        groups = [(part.shape[0], part.shape[1]) for part in parts]
        x_MD = self.norm(self._through(torch.cat([part.flatten(0, 1) for part in parts]), groups))
        cut = x_MD.split([images * tokens for images, tokens in groups])
        return [part.unflatten(0, group) for part, group in zip(cut, groups, strict=True)]

    def _through(self, x_MD: Tensor, groups: Groups) -> Tensor:
        """After all blocks, before the norm."""
        for block in self.blocks:
            if self.config.checkpointing and self.training:
                x_MD = checkpoint(block, x_MD, groups, use_reentrant=False)
            else:
                x_MD = block(x_MD, groups)
        return x_MD

    def tokens(self, image_B3HW: Tensor, kept_BK: Tensor | None = None, masks_BP: Tensor | None = None) -> Tensor:
        """Returns (B, T, D) after the last norm.

        image_B3HW: normalised pixels, H and W multiples of the patch.
        kept_BK: int64 patch numbers to keep; training may drop the rest.
        masks_BP: bool; patches that the mask token stands for, before positions are added.
        """
        x_BTD = self._embedded(image_B3HW, kept_BK, masks_BP)
        group = (x_BTD.shape[0], x_BTD.shape[1])
        return self.norm(self._through(x_BTD.flatten(0, 1), [group])).unflatten(0, group)

    def _embedded(self, image_B3HW: Tensor, kept_BK: Tensor | None, masks_BP: Tensor | None) -> Tensor:
        """(B, T, D) before the first block."""
        grid_BDhw = self.patch_embed(image_B3HW)
        B, D, rows, columns = grid_BDhw.shape
        positions_1TD = self.positions(rows, columns)
        patches_BPD = grid_BDhw.flatten(2).transpose(1, 2)
        if masks_BP is not None:
            patches_BPD = torch.where(masks_BP[:, :, None], self.mask_token.to(patches_BPD.dtype), patches_BPD)
        patches_BPD = patches_BPD + positions_1TD[:, 1:]
        if kept_BK is not None:
            patches_BPD = patches_BPD.gather(1, kept_BK[:, :, None].expand(-1, -1, D))
        prefix = [(self.cls_token + positions_1TD[:, :1]).expand(B, -1, -1)]
        if self.config.registers:
            prefix.append(self.register_tokens.expand(B, -1, -1))
        return torch.cat([*prefix, patches_BPD], dim=1)

    def get_intermediate_layers(
        self,
        image_B3HW: Tensor,
        n: int | Sequence[int] = 1,
        *,
        reshape: bool = False,
        return_class_token: bool = False,
        return_extra_tokens: bool = False,
        norm: bool = True,
    ) -> tuple[Tensor | tuple[Tensor, ...], ...]:
        """Patch tokens after each of the last `n` blocks, or of the blocks numbered `n` (from 0), in their order.

        reshape: (B, D, H / patch, W / patch) in place of (B, P, D). return_class_token, return_extra_tokens: each is a tuple
        with the class token (B, D), and the registers (B, R, D). norm: after the last norm. As in dinov2.
        """
        wanted = range(len(self.blocks) - n, len(self.blocks)) if isinstance(n, int) else n
        x_BTD, found = self._embedded(image_B3HW, None, None), dict[int, Tensor]()
        for number, block in enumerate(self.blocks):
            x_BTD = block(x_BTD.flatten(0, 1), [(x_BTD.shape[0], x_BTD.shape[1])]).view_as(x_BTD)
            if number in wanted:
                found[number] = self.norm(x_BTD) if norm else x_BTD
        if len(found) != len(set(wanted)):
            raise ValueError(f"layers {list(wanted)} of {len(self.blocks)} blocks")
        skip, rows = 1 + self.config.registers, image_B3HW.shape[2] // self.config.patch
        out = []
        for number in sorted(found):
            patches_BPD = found[number][:, skip:]
            map_ = patches_BPD.transpose(1, 2).unflatten(2, (rows, -1)) if reshape else patches_BPD
            extra = [found[number][:, 0]] * return_class_token + [found[number][:, 1:skip]] * return_extra_tokens
            out.append((map_, *extra) if extra else map_)
        return tuple(out)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Returns (1, 1 + rows * columns, D): `pos_embed` resized to another grid.

        As DINOv2: with registers to the exact size, antialiased; without, by a scale factor with 0.1 patch of slack.
        """
        grid = self.config.grid
        if (rows, columns) == (grid, grid):
            return self.pos_embed
        map_1Dgg = self.pos_embed[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
        if self.config.registers:
            resized = functional.interpolate(map_1Dgg, (rows, columns), mode="bicubic", antialias=True)
        else:
            scale = ((rows + 0.1) / grid, (columns + 0.1) / grid)
            resized = functional.interpolate(map_1Dgg, scale_factor=scale, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


def _drops(config: VitConfig) -> list[float]:
    """What each block leaves out."""
    steps = max(1, config.blocks - 1)
    linear = config.drop_path_rule == "linear"
    return [config.drop_path * (number / steps if linear else 1.0) for number in range(config.blocks)]


def with_projection(model: VisionTransformer, layer: nn.Linear) -> VisionTransformer:
    """Returns a copy of the transformer whose last linear layer is `layer`, which takes the pooled feature."""
    shipped = VisionTransformer(replace(model.config, project=layer.out_features))
    kept = {key: value for key, value in model.state_dict().items() if not key.startswith("project.")}
    shipped.load_state_dict({**kept, "project.weight": layer.weight, "project.bias": layer.bias})
    return shipped.train(model.training)


def sincos_positions(grid: int, width: int) -> Tensor:
    """Returns (grid * grid, width): fixed sine-cosine positions, a good starting value (arXiv 2104.02057, MoCo v3)."""
    frequency = 10_000.0 ** -torch.linspace(0, 1, width // 4 + 1)[:-1]
    angle = torch.arange(grid)[:, None] * frequency  # (grid, width / 4)
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)  # (grid, width / 2)
    return torch.cat([wave.repeat_interleave(grid, 0), wave.repeat(grid, 1)], dim=1)


def _initialise(model: VisionTransformer) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    nn.init.normal_(model.cls_token, std=1e-6)
    if model.config.registers:
        nn.init.normal_(model.register_tokens, std=1e-6)
    model.pos_embed.data[:, 1:] = 0.3 * sincos_positions(model.config.grid, model.width)
