"""The project's vision transformer: one class for every size, in the official DINOv2 key layout.

What is special: pre-norm blocks with LayerScale, registers placed after the class token and never given a position,
MLP or SwiGLU feed-forward, positions that are added (learned or fixed, resized bicubically) or turned (`rope.py`), and three
additions for the small shipped model: a convolutional stem in place of the single patch projection, pooling in cells, and a
linear layer after it.

Several batches of images go through the blocks as one sequence (`packed`): norms, projections and feed-forward see all of
their tokens at once, attention stays within an image. Stochastic depth leaves out images, not products (DINOv2 paper,
section 5): each residual branch runs on a random subset of every batch, and counts for as much more.

Letters: B images, M tokens of all images, H W pixels, P patches, T tokens (prefix and patches; the prefix is the class token,
where there is one, and R registers), K patches kept, D width,
N heads, F hidden width, E output width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from embedder.layers import Block, stream
from embedder.patches import PatchEmbed, resized, sincos_positions
from embedder.rope import Groups, Rope
from embedder.vit_config import VitConfig


class VisionTransformer(nn.Module):
    """Images to tokens, and to one vector per image."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        shape = config.shape
        self.config = config
        self.width = shape.width
        self.patch_embed = PatchEmbed(shape.width, config.patch, config.stem)
        if config.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        if config.positions == "rope":
            self.rope_embed = Rope(shape.width // shape.heads, config.rescale)
        else:
            places = torch.zeros(1, config.class_token + config.grid**2, shape.width)
            self.pos_embed = nn.Parameter(places, requires_grad=config.positions == "learned")
        self.mask_token = nn.Parameter(torch.zeros(1, shape.width))
        if config.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, shape.width))
        self.blocks = nn.ModuleList(Block(shape, config.layerscale, drop) for drop in config.drops)
        self.norm = nn.LayerNorm(shape.width, eps=shape.eps)
        self.project = nn.Linear(self.pooled_dim, config.project) if config.project else nn.Identity()
        _initialise(self)

    @property
    def pooled_dim(self) -> int:
        """Width of `pooled`."""
        return self.width * {"grid": self.config.cells**2, "cls+mean": 2}.get(self.config.pool, 1)

    @property
    def dim(self) -> int:
        """E."""
        return self.config.project or self.pooled_dim

    def pool_by(self, pool: Any) -> None:
        """Pool in another way. Raises ValueError for one that there is not, or if a layer of the network follows its own."""
        if self.config.project or self.config.pool_first:
            raise ValueError(f"this network's own pooling, {self.config.pool!r}, is followed by a layer: it has no other")
        self.config = replace(self.config, pool=pool)

    def forward(self, image_B3HW: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """Returns (B, E): the pooled and, where configured, projected feature; not normalised."""
        return self.project(self.pooled(image_B3HW, kept_BK))

    def pooled(self, image_B3HW: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """Returns (B, pooled_dim), normed: class token, mean of the patches, both joined, or means of the cells."""
        pool, prefix = self.config.pool, self.config.prefix
        x_BTD = self._through(image_B3HW, kept_BK)
        if self.config.pool_first:
            return self.norm(x_BTD[:, prefix:].mean(1))
        tokens_BTD = self.norm(x_BTD)
        patches_BPD = tokens_BTD[:, prefix:]
        if pool == "grid":
            map_BDhw = patches_BPD.transpose(1, 2).unflatten(2, (image_B3HW.shape[2] // self.config.patch, -1))
            return functional.adaptive_avg_pool2d(map_BDhw, self.config.cells).flatten(1)
        parts = [tokens_BTD[:, 0]] * ("cls" in pool) + [patches_BPD.mean(1)] * ("mean" in pool)
        return torch.cat(parts, dim=1)

    def tokens(self, image_B3HW: Tensor, kept_BK: Tensor | None = None, masks_BP: Tensor | None = None) -> Tensor:
        """Returns (B, T, D) after the last norm.

        image_B3HW: normalised pixels, H and W multiples of the patch.
        kept_BK: int64 patch numbers to keep; training may drop the rest, where positions are added.
        masks_BP: bool; patches that the mask token stands for, before positions are added.
        """
        return self.norm(self._through(image_B3HW, kept_BK, masks_BP))

    def packed(self, images: Sequence[Tensor], masks: Sequence[Tensor | None]) -> list[Tensor]:
        """`tokens` of several batches, each of its own size, computed as one sequence."""
        parts = [self._embedded(image, None, mask) for image, mask in zip(images, masks, strict=True)]
        groups = [(part.shape[0], part.shape[1]) for part in parts]
        x_MD, waves = torch.cat([part.flatten(0, 1) for part in parts]), self._waves(images)
        for block in self.blocks:
            x_MD = self._block(block, x_MD, groups, waves)
        cut = self.norm(x_MD).split([images * tokens for images, tokens in groups])
        return [part.unflatten(0, group) for part, group in zip(cut, groups, strict=True)]

    def _through(self, image_B3HW: Tensor, kept_BK: Tensor | None = None, masks_BP: Tensor | None = None) -> Tensor:
        """(B, T, D) after the last block, before the norm."""
        x_BTD = image_B3HW
        for x_BTD in self._stages(image_B3HW, kept_BK, masks_BP):  # noqa: B007 - the last one is wanted, the others go
            pass
        return x_BTD

    def _stages(self, image_B3HW: Tensor, kept_BK: Tensor | None, masks_BP: Tensor | None) -> Iterator[Tensor]:
        """(B, T, D) after each block."""
        if kept_BK is not None and self.config.positions == "rope":
            raise ValueError("patches can be left out where positions are added, not where they are turned")
        x_BTD, waves = self._embedded(image_B3HW, kept_BK, masks_BP), self._waves([image_B3HW])
        group = (x_BTD.shape[0], x_BTD.shape[1])
        for block in self.blocks:
            x_BTD = self._block(block, x_BTD.flatten(0, 1), [group], waves).unflatten(0, group)
            yield x_BTD

    def _block(self, block: nn.Module, x_MD: Tensor, groups: Groups, waves_T2d: list[Tensor] | None) -> Tensor:
        if self.config.checkpointing and self.training:
            return checkpoint(block, x_MD, groups, waves_T2d, use_reentrant=False)
        return block(x_MD, groups, waves_T2d)

    def _waves(self, images: Sequence[Tensor]) -> list[Tensor] | None:
        """How each batch's queries and keys are turned, or None."""
        if self.config.positions != "rope":
            return None
        grids = [[edge // self.config.patch for edge in image.shape[2:]] for image in images]
        return [self.rope_embed(rows, columns, self.config.prefix) for rows, columns in grids]

    def _embedded(self, image_B3HW: Tensor, kept_BK: Tensor | None, masks_BP: Tensor | None) -> Tensor:
        """(B, T, D) before the first block."""
        grid_BDhw = self.patch_embed(image_B3HW)
        B, D, rows, columns = grid_BDhw.shape
        patches_BPD = grid_BDhw.flatten(2).transpose(1, 2)
        if masks_BP is not None:
            patches_BPD = torch.where(masks_BP[:, :, None], self.mask_token.to(patches_BPD.dtype), patches_BPD)
        prefix = [self.cls_token] if self.config.class_token else []
        if self.config.positions != "rope":
            classes = len(prefix)
            positions_1TD = self.positions(rows, columns)
            patches_BPD = patches_BPD + positions_1TD[:, classes:]
            prefix = [token + positions_1TD[:, :1] for token in prefix]
        if kept_BK is not None:
            patches_BPD = patches_BPD.gather(1, kept_BK[:, :, None].expand(-1, -1, D))
        if self.config.registers:
            prefix.append(self.register_tokens)
        return stream(torch.cat([*(token.expand(B, -1, -1) for token in prefix), patches_BPD], dim=1))

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
        with the class token (B, D; where there is none, the mean of the patches), and the registers (B, R, D). norm: after the
        last norm. As in dinov2.
        """
        wanted = range(len(self.blocks) - n, len(self.blocks)) if isinstance(n, int) else n
        found = {number: x for number, x in enumerate(self._stages(image_B3HW, None, None)) if number in wanted}
        if len(found) != len(set(wanted)):
            raise ValueError(f"layers {list(wanted)} of {len(self.blocks)} blocks")
        skip, rows = self.config.prefix, image_B3HW.shape[2] // self.config.patch
        out = []
        for number in sorted(found):
            tokens_BTD = self.norm(found[number]) if norm else found[number]
            patches_BPD = tokens_BTD[:, skip:]
            map_ = patches_BPD.transpose(1, 2).unflatten(2, (rows, -1)) if reshape else patches_BPD
            whole_BD = tokens_BTD[:, 0] if self.config.class_token else patches_BPD.mean(1)
            extra = [whole_BD] * return_class_token
            extra += [tokens_BTD[:, skip - self.config.registers : skip]] * return_extra_tokens
            out.append((map_, *extra) if extra else map_)
        return tuple(out)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Returns (1, class token + rows * columns, D): `pos_embed` resized to another grid.

        As DINOv2: with registers to the exact size, antialiased; without, by a scale factor with 0.1 patch of slack. Fixed
        positions to the exact size, without antialiasing, as mae/util/pos_embed.py.
        """
        config, classes = self.config, int(self.config.class_token)
        if (rows, columns) == (config.grid, config.grid):
            return self.pos_embed
        rule = "exact" if config.positions == "sincos" else "antialias" if config.registers else "slack"
        others = resized(self.pos_embed[:, classes:], rows, columns, rule)
        return torch.cat([self.pos_embed[:, :classes], others], dim=1)


def with_projection(model: VisionTransformer, layer: nn.Linear) -> VisionTransformer:
    """Returns a copy of the transformer whose last linear layer is `layer`, which takes the pooled feature."""
    shipped = VisionTransformer(replace(model.config, project=layer.out_features))
    kept = {key: value for key, value in model.state_dict().items() if not key.startswith("project.")}
    shipped.load_state_dict({**kept, "project.weight": layer.weight, "project.bias": layer.bias})
    return shipped.train(model.training)


def _initialise(model: VisionTransformer) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    config, std = model.config, 0.02 if model.config.positions == "rope" else 1e-6  # DINOv3's, DINOv2's
    if config.class_token:
        nn.init.normal_(model.cls_token, std=std)
    if config.registers:
        nn.init.normal_(model.register_tokens, std=std)
    if config.positions != "rope":
        share = 1.0 if config.positions == "sincos" else 0.3
        model.pos_embed.data[:, int(config.class_token) :] = share * sincos_positions(config.grid, model.width)
