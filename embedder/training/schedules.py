"""Learning rate, weight decay, teacher momentum and temperature as functions of the step.

Source: dinov2/train/train.py: linear warm-up, then a cosine from the first value to the last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """A training's length and what changes over it. All lengths are optimiser steps."""

    steps: int
    """Of the training."""
    warmup: int = 0
    """Steps over which the learning rate rises from 0."""
    base_lr: float = 2e-4
    """Learning rate at a batch of 1,024 images; it goes with the square root of the batch."""
    min_lr: float = 1e-6
    """Learning rate at the end."""
    weight_decay: tuple[float, float] = (0.04, 0.2)
    """First and last."""
    momentum: tuple[float, float] = (0.994, 1.0)
    """Of the teacher, first and last."""
    teacher_temperature: tuple[float, float] = (0.04, 0.07)
    """First, and from the end of its rise on."""
    teacher_warmup: int = 0
    """Steps over which the teacher's temperature rises."""
    freeze_prototypes: int = 0
    """First steps in which the prototypes do not move."""

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.warmup <= self.steps:
            raise ValueError(f"schedule: steps is 1 or more and warmup at most steps, not {self.steps} and {self.warmup}")
        if self.base_lr <= 0 or self.min_lr < 0:
            raise ValueError(f"schedule: base_lr is above 0 and min_lr not below, not {self.base_lr} and {self.min_lr}")


@dataclass(frozen=True)
class Plan:
    """The schedules of one training."""

    cfg: ScheduleConfig
    batch: int  # images of a step, all processes together

    def lr(self, step: int) -> float:
        peak = self.cfg.base_lr * math.sqrt(self.batch / 1024)
        return cosine(step, peak, self.cfg.min_lr, self.cfg.steps, self.cfg.warmup)

    def prototype_lr(self, step: int) -> float:
        return 0.0 if step < self.cfg.freeze_prototypes else self.lr(step)

    def weight_decay(self, step: int) -> float:
        return cosine(step, *self.cfg.weight_decay, self.cfg.steps)

    def momentum(self, step: int) -> float:
        return cosine(step, *self.cfg.momentum, self.cfg.steps)

    def teacher_temperature(self, step: int) -> float:
        first, last = self.cfg.teacher_temperature
        return last if step >= self.cfg.teacher_warmup else first + (last - first) * step / max(1, self.cfg.teacher_warmup - 1)


def cosine(step: int, first: float, last: float, steps: int, warmup: int = 0) -> float:
    """The value at `step`: up from 0 over `warmup` steps, the last of which has `first`, then along half a cosine to `last`."""
    if step < warmup:
        return first * step / max(1, warmup - 1)
    if step >= steps:
        return last
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
