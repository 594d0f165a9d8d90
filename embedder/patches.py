"""From pixels to patch tokens, and where they lie.

Letters: B images, H W pixels, P patches, D width.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


class PatchEmbed(nn.Module):
    """Pixels to patch tokens: one strided convolution, or a stem of strided 3x3 ones followed by a 1x1 projection.

    The stem halves the size log2(patch) times, doubling the channels up to the width (arXiv 2106.14881).
    """

    def __init__(self, width: int, patch: int, stem: bool) -> None:
        super().__init__()
        self.stem = _conv_stem(width, patch) if stem else nn.Identity()
        self.proj = nn.Conv2d(width, width, 1) if stem else nn.Conv2d(3, width, patch, patch)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        if not isinstance(self.stem, nn.Identity):  # its convolutions and norms are made for channels that lie last
            image_B3HW = image_B3HW.contiguous(memory_format=torch.channels_last)
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


def sincos_positions(grid: int, width: int) -> Tensor:
    """Returns (grid * grid, width): fixed sine-cosine positions, a good starting value (arXiv 2104.02057, MoCo v3)."""
    frequency = 10_000.0 ** -torch.linspace(0, 1, width // 4 + 1)[:-1]
    angle = torch.arange(grid)[:, None] * frequency  # (grid, width / 4)
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)  # (grid, width / 2)
    return torch.cat([wave.repeat_interleave(grid, 0), wave.repeat(grid, 1)], dim=1)


def resized(places_1PD: Tensor, rows: int, columns: int, rule: Literal["exact", "antialias", "slack"]) -> Tensor:
    """(1, rows * columns, D): positions of a square grid brought to another one, bicubically.

    rule: "slack" resizes by a factor that makes 0.1 patch too many, so that rounding cannot lose one.
    """
    grid = round(places_1PD.shape[1] ** 0.5)
    how: dict[str, Any] = {"size": (rows, columns), "antialias": rule == "antialias"}
    if rule == "slack":
        how = {"scale_factor": ((rows + 0.1) / grid, (columns + 0.1) / grid)}
    map_1Dgg = places_1PD.unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
    return functional.interpolate(map_1Dgg, mode="bicubic", **how).flatten(2).transpose(1, 2)
