"""What the comparisons with the authors' own modules have in common: random tensors, pictures, and how far apart two are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.embedder.golden_dinov2 import ONES


@torch.no_grad()
def scrambled(model: nn.Module) -> nn.Module:
    """The model, its tensors random: gains about 1, products that keep the size of what comes in."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        wide = parameter[0].numel() if parameter.ndim > 1 and "pos_embed" not in name else 25
        parameter.normal_(0, wide**-0.5, generator=generator).add_(name.endswith(ONES))
    return model.eval()


def pictures(size: str, count: int = 1) -> Tensor:
    """(count, 3, H, W) of noise. size: "224", or "98x154", height first."""
    height, _, width = size.partition("x")
    return torch.randn(count, 3, int(height), int(width or height), generator=torch.Generator().manual_seed(1))


def far(pairs: list[tuple[Tensor, Tensor]]) -> float:
    """The largest difference of any pair, relative to the largest value of its first."""
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def same(made: dict[str, Tensor], released: dict[str, Tensor]) -> bool:
    """The same names, and equal bits under each."""
    return made.keys() == released.keys() and all(torch.equal(made[key], released[key]) for key in released)


def filled(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor that learns a wave of its own, by its place among the sorted names; gains are about 1."""
    learns = sorted(name for name in tensors if not name.endswith(("periods", "bias_mask")) and not name.startswith("head."))
    out = {name: tensors[name] for name in tensors}
    for number, name in enumerate(learns):
        wave = torch.sin(torch.arange(tensors[name].numel(), dtype=torch.float64) * 0.37 + number) * 0.05
        out[name] = wave.reshape(tensors[name].shape).float() + name.endswith(ONES)
    return out


def wavy(height: int, width: int) -> Tensor:
    """(1, 3, height, width), the same everywhere."""
    return torch.sin(torch.arange(3 * height * width, dtype=torch.float64) * 0.11).reshape(1, 3, height, width).float()


def few(*parts: Tensor) -> tuple[tuple[float, ...], ...]:
    """The first four values of each, rounded."""
    return tuple(tuple(round(value, 6) for value in part[:4].tolist()) for part in parts)
