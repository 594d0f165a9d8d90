"""Parameter groups, one step of AdamW, and gradients clipped part by part.

Source: dinov2/utils/param_groups.py: no weight decay on biases, norms and LayerScale, a fifth of the learning rate for the
patch embedding, a rate that falls with the depth, prototypes held still at first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from embedder.training.schedules import Plan


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW, and how parameters differ."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Of the two moments."""
    clip: float = 3.0
    """Greatest norm of the gradient of the backbone, and of each head; 0: none."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each block to the one below it."""
    patch_embed: float = 0.2
    """Factor of the patch embedding's learning rate."""

    def __post_init__(self) -> None:
        if self.clip < 0:
            raise ValueError(f"optim.clip is 0 or more, not {self.clip}")


def optimiser(student: nn.ModuleDict, depth: int, cfg: OptimConfig) -> torch.optim.AdamW:
    """AdamW over all parameters that learn; parameters of equal treatment are one group."""
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, parameter in student.named_parameters():
        if not parameter.requires_grad:
            continue
        treated = _treatment(name, depth, cfg)
        group = groups.setdefault(tuple(treated.values()), {"params": [], "names": [], **treated})
        group["params"].append(parameter)
        group["names"].append(name)
    for group in groups.values():
        group.pop("names")
    fused = all(parameter.is_cuda for parameter in student.parameters())
    return torch.optim.AdamW(list(groups.values()), lr=0.0, weight_decay=0.0, betas=cfg.betas, fused=fused)


def _treatment(name: str, depth: int, cfg: OptimConfig) -> dict[str, Any]:
    """Factors of the learning rate and the weight decay of a parameter, and whether it is a prototype's."""
    factor = cfg.layer_decay ** (depth + 1 - _layer(name, depth)) if name.startswith("backbone.") else 1.0
    factor *= cfg.patch_embed if ".patch_embed." in name else 1.0
    plain = name.endswith(".bias") or "norm" in name or "gamma" in name
    return {"lr_factor": factor, "decay_factor": 0.0 if plain else 1.0, "prototypes": "last_layer" in name}


def _layer(name: str, depth: int) -> int:
    block = re.search(r"\.blocks\.(\d+)\.", name)
    if block:
        return int(block[1]) + 1
    return 0 if re.search(r"\.(pos_embed|patch_embed|mask_token|cls_token|register_tokens)", name) else depth + 1


def schedule(optimizer: torch.optim.Optimizer, plan: Plan, step: int) -> None:
    """Every group's learning rate and weight decay for a step."""
    for group in optimizer.param_groups:
        lr = plan.prototype_lr(step) if group["prototypes"] else plan.lr(step)
        group["lr"], group["weight_decay"] = lr * group["lr_factor"], plan.weight_decay(step) * group["decay_factor"]


def clip(student: nn.ModuleDict, most: float) -> dict[str, Tensor]:
    """Bring the gradient of every part to norm `most` at most; the norms before."""
    return {name: _whole(nn.utils.clip_grad_norm_(part.parameters(), most or torch.inf)) for name, part in student.items()}


def _whole(x: Tensor) -> Tensor:
    return x.full_tensor() if isinstance(x, DTensor) else x
