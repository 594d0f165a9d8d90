"""Projection heads: a token to scores of K prototypes, in the official DINOv2 key layout.

Source: DINOv2, dinov2/layers/dino_head.py: three linear layers with GELU, L2 norm, weight-normed prototypes without bias. The
gain of the weight norm starts at 1 and, unlike DINO's first version, is learned.

Letters: M tokens, D width, E bottleneck, K prototypes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Prototypes(nn.Module):
    """K directions: each row of `weight_v` at unit length, times its gain."""

    def __init__(self, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(prototypes, 1))
        self.weight_v = nn.Parameter(nn.init.trunc_normal_(torch.empty(prototypes, bottleneck), std=0.02))

    def forward(self, x_ME: Tensor) -> Tensor:
        weight_KE = self.weight_g * functional.normalize(self.weight_v.float(), dim=1)
        return functional.linear(x_ME, weight_KE.to(x_ME.dtype))


class Head(nn.Module):
    """(M, D) tokens to (M, K) scores.

    batch_norm: hidden layers are normalised over the tokens of a call, in training and after it (`use_bn` of the source, whose
    average is over time besides).
    """

    def __init__(
        self, width: int, prototypes: int, hidden: int = 2048, bottleneck: int = 256, *, batch_norm: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before in (width, hidden):
            norm = [nn.BatchNorm1d(hidden, track_running_stats=False)] if batch_norm else []
            layers += [nn.Linear(before, hidden), *norm, nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden, bottleneck))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last_layer = Prototypes(bottleneck, prototypes)

    def forward(self, x_MD: Tensor) -> Tensor:
        x_ME = self.mlp(x_MD)
        eps = 1e-6 if x_ME.dtype == torch.float16 else 1e-12
        return self.last_layer(functional.normalize(x_ME, dim=-1, eps=eps))
