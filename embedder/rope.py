"""Positions as rotations (RoPE) over two axes, as DINOv3 has them: of queries and keys of patches, never of other tokens.

A patch's centre lies in [-1, 1] on each axis, whatever the grid; an angle is 2 pi x coordinate / period. The first half of
a head's channels turns with the second, by angles of the rows in its first quarter and of the columns in its second.
Source: DINOv3 paper (arXiv 2508.10104, section 3.2), dinov3/layers/rope_position_encoding.py. Differs: one factor of the
coordinates is drawn for each batch of crops, not another one for every block.

Letters: B images, M tokens of all images, T tokens of one (prefix and P patches), N heads, d channels of a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

Groups = list[tuple[int, int]]  # (images, tokens of each) of every batch, in the order of its tokens
BASE = 100.0


class Rope(nn.Module):
    """A grid to the cosines and sines of its tokens. rescale: the largest factor of the coordinates in training."""

    def __init__(self, width_d: int, rescale: float) -> None:
        super().__init__()
        if width_d % 4:
            raise ValueError(f"rotations over two axes need a head of a multiple of 4 channels, not {width_d}")
        self.rescale = rescale
        self.register_buffer("periods", BASE ** (2 * torch.arange(width_d // 4) / (width_d // 2)))

    def forward(self, rows: int, columns: int, prefix: int) -> Tensor:
        """(T, 2, d) float32: cosines and sines; the first `prefix` tokens stay as they are."""
        device = self.periods.device
        centres = [(torch.arange(count, device=device) + 0.5) / count * 2 - 1 for count in (rows, columns)]
        places_P2 = torch.cartesian_prod(*centres)
        if self.training and self.rescale > 1:
            most = math.log(self.rescale)
            places_P2 = places_P2 * torch.empty(1, device=device).uniform_(-most, most).exp()
        angles_Pd = (2 * math.pi * places_P2[:, :, None] / self.periods.float()).flatten(1).repeat(1, 2)
        angles_Td = torch.cat([angles_Pd.new_zeros(prefix, angles_Pd.shape[1]), angles_Pd])
        return torch.stack([angles_Td.cos(), angles_Td.sin()], dim=1)


def rotate(qkv_M3Nd: Tensor, waves_T2d: list[Tensor], groups: Groups) -> Tensor:
    """qkv with queries and keys turned, in float32; waves: one for each group, the same for its images."""
    every = [wave.expand(images, *wave.shape).flatten(0, 1) for wave, (images, _) in zip(waves_T2d, groups, strict=True)]
    cos_M11d, sin_M11d = torch.cat(every)[:, :, None, None].unbind(1)
    qk_M2Nd = qkv_M3Nd[:, :2].float()
    first, second = qk_M2Nd.chunk(2, dim=-1)
    turned = qk_M2Nd * cos_M11d + torch.cat([-second, first], dim=-1) * sin_M11d
    return torch.cat([turned.to(qkv_M3Nd.dtype), qkv_M3Nd[:, 2:]], dim=1)
