"""Gaussian smoothing of grey pictures, batched on tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def smooth(x_B1HW: Tensor, sigma: float) -> Tensor:
    """(B, 1, H, W) under a Gaussian of `sigma` pixels, cut at three of them; the rim is repeated outwards."""
    reach = min(math.ceil(3 * sigma), min(x_B1HW.shape[2:]) - 1)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    across = functional.conv2d(functional.pad(x_B1HW, (reach, reach, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    return functional.conv2d(functional.pad(across, (0, 0, reach, reach), mode="replicate"), kernel.view(1, 1, -1, 1))
