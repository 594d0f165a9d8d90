"""Everything that decides a training, each section beside its owner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from embedder.training.loader import DataConfig
from embedder.training.masks import MaskConfig
from embedder.training.optim import OptimConfig
from embedder.training.schedules import Plan, ScheduleConfig
from embedder.training.student_teacher import HeadConfig, LossConfig
from embedder.vit import VitConfig

PRECISIONS = ("bf16", "fp32")


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How the loop runs."""

    batch: int = 64
    """Images of a step, all processes and accumulations together."""
    accumulate: int = 1
    """Parts that a step's images come in, one after the other: less memory, and centring over each part alone."""
    seed: int = 0
    """Of weights, order, crops and masks."""
    precision: str = "bf16"
    """Of the networks' products: "bf16" where the device has it in hardware, else fp32; "fp32" always."""
    compile: bool = True
    """On GPUs, blocks are compiled: half a minute before the first step, less memory traffic in every one."""
    log_every: int = 10
    """Steps between lines of the log."""
    checkpoint_every: int = 1000
    """Steps between checkpoints; the last step has one, too."""
    keep: int = 2
    """Checkpoints that stay."""
    start: str = ""
    """Weights that the backbones begin with: an encoder's name or file; "" draws them."""
    teacher: str = ""
    """Distillation: a checkpoint folder of a finished training, whose teacher and heads this one learns from."""
    knn: tuple[str, ...] = ()
    """Two labelled places, such as DIR/train and DIR/val: k-NN top-1 from the first to the second is told at the start, at
    every checkpoint and at the end; () does without."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"loop.precision is one of {', '.join(PRECISIONS)}, not {self.precision!r}")
        for name in ("log_every", "checkpoint_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"loop.{name} is 1 or more, not {getattr(self, name)}")
        if len(self.knn) not in (0, 2):
            raise ValueError(f"loop.knn names two labelled places, known and asked, not {len(self.knn)}")
        if self.batch < 1 or self.accumulate < 1 or self.batch % self.accumulate:
            raise ValueError(f"loop.batch ({self.batch}) is a multiple of loop.accumulate ({self.accumulate})")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training."""

    schedule: ScheduleConfig
    model: VitConfig = field(default_factory=lambda: VitConfig(layerscale=1e-5))
    heads: HeadConfig = field(default_factory=HeadConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)

    def __post_init__(self) -> None:
        if not self.model.class_token:
            raise ValueError("model.class_token: what is learned is what class tokens tell, so there has to be one")
        for name in ("global_side", "local_side"):
            if getattr(self.data, name) % self.model.patch:
                raise ValueError(f"data.{name} ({getattr(self.data, name)}) is no multiple of model.patch ({self.model.patch})")

    @property
    def plan(self) -> Plan:
        return Plan(self.schedule, self.loop.batch)

    def share(self, world: int) -> int:
        """Images of one process in one part of a step. Raises ValueError if they do not come out even."""
        per = self.loop.batch // (self.loop.accumulate * world)
        if per * self.loop.accumulate * world != self.loop.batch or per < 1:
            raise ValueError(
                f"loop.batch ({self.loop.batch}) is no multiple of {world} processes x {self.loop.accumulate} accumulations"
            )
        if self.loss.koleo and self.loss.koleo_group and per % self.loss.koleo_group:
            raise ValueError(
                f"loss.koleo_group ({self.loss.koleo_group}) does not divide the {per} images of one process at once"
            )
        return per


def from_table(table: Mapping[str, Mapping[str, Any]]) -> TrainConfig:
    """A config from parsed TOML (lists stand for tuples). Raises ValueError for a section or key that is not known."""
    kinds = get_type_hints(TrainConfig)
    if unknown := sorted(set(table) - set(kinds)):
        raise ValueError(f"a training has no section [{unknown[0]}]; it has {', '.join(kinds)}")
    sections = {name: _section(kinds[name], name, values) for name, values in table.items()}
    return TrainConfig(**sections)


def _section(kind: type, name: str, values: Mapping[str, Any]) -> Any:
    if unknown := sorted(set(values) - {f.name for f in fields(kind)}):
        raise ValueError(f"[{name}] has no key {unknown[0]}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
