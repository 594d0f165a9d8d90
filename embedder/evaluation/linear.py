"""A grid of linear heads on frozen features, trained jointly; the best on the validation rows is told (dinov2, eval/linear.py).

Here features are taken once, from the centre of each image; the original takes them anew from random crops and flips.
Letters: N training rows, M validation rows, D width of a token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

RATES = (*(float(f"{lead}e{power}") for power in range(-5, -1) for lead in (1, 2, 5)), 0.1)


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """The probe's length and grid."""

    rates: tuple[float, ...] = RATES
    """Learning rates at a batch of 256; scaled in proportion to the batch."""
    steps: int = 12_500
    """Batches."""
    batch: int = 128
    """Rows."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.rates or min(self.rates) <= 0 or self.steps < 1 or self.batch < 1:
            raise ValueError(f"rates, steps and batch of a linear probe are positive, not {self}")


def linear(
    train_NF: Tensor, label_N: Tensor, val_MF: Tensor, truth_M: Tensor, width: int, cfg: LinearConfig | None = None
) -> dict[str, float | str]:
    """Top-1 of the best head on the validation rows, and its name.

    train_NF, val_MF: class tokens of the last blocks, then the mean patch, each `width` wide (`features.class_tokens`).
    """
    cfg = cfg or LinearConfig()
    generator = torch.Generator().manual_seed(cfg.seed)
    classes = int(torch.cat([label_N, truth_M]).max()) + 1
    columns = _columns(train_NF.shape[1], width)
    heads = {(kind, rate): _head(len(at), classes, generator) for kind, at in columns.items() for rate in cfg.rates}
    _train(heads, columns, train_NF, label_N, cfg, generator)
    with torch.no_grad():
        right = {
            at: (head(val_MF[:, columns[at[0]]]).argmax(1) == truth_M).double().mean().item() for at, head in heads.items()
        }
    best = max(right, key=lambda at: right[at])
    return {"top1": right[best], "head": f"{best[0]}, lr {best[1]:g}"}


def _columns(features: int, width: int) -> dict[str, Tensor]:
    """Which columns each kind of head sees."""
    tokens = features // width - 1
    mean_D = torch.arange(tokens * width, features)
    kinds = {f"last {n} blocks": torch.arange((tokens - n) * width, tokens * width) for n in sorted({1, tokens})}
    return kinds | {f"{kind} + mean patch": torch.cat([at, mean_D]) for kind, at in kinds.items()}


def _head(width: int, classes: int, generator: torch.Generator) -> nn.Linear:
    head = nn.Linear(width, classes)
    nn.init.normal_(head.weight, std=0.01, generator=generator)
    nn.init.zeros_(head.bias)
    return head


def _train(
    heads: dict[tuple[str, float], nn.Linear], columns: dict[str, Tensor], train_NF: Tensor, label_N: Tensor,
    cfg: LinearConfig, generator: torch.Generator,
) -> None:  # fmt: skip
    scale = cfg.batch / 256
    groups = [{"params": head.parameters(), "lr": rate * scale} for (_, rate), head in heads.items()]
    optimiser = torch.optim.SGD(groups, momentum=0.9, weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, cfg.steps)
    for _ in range(cfg.steps):
        at_B = torch.randint(len(train_NF), (cfg.batch,), generator=generator)
        seen = {kind: train_NF[at_B][:, wanted] for kind, wanted in columns.items()}
        losses = [functional.cross_entropy(head(seen[kind]), label_N[at_B]) for (kind, _), head in heads.items()]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        optimiser.step()
        schedule.step()
