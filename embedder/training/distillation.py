"""A frozen teacher out of a finished training: its averaged backbone and heads.

Source: DINOv2 paper, section 5 (model distillation): the same loop with a frozen larger teacher and its heads, a spare
average of the student as the result, no masks, no stochastic depth, iBOT on all patches of both global crops.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from embedder.training import checkpoint
from embedder.training.student_teacher import HeadConfig, LossConfig, parts
from embedder.vit import VitConfig


def teacher_of(folder: Path, at: Path | None = None) -> nn.ModuleDict:
    """The averaged networks of the checkpoint `at`, or of the last one in `folder`. Raises ValueError if there is none, or if
    it is damaged."""
    saved = [at] if at else checkpoint.found(folder)
    if not saved:
        raise ValueError(f"no checkpoint in {folder}: distillation needs a finished training, whose heads it learns from")
    config = checkpoint.loop_of(saved[-1])["config"]
    told = [_as(kind, config[name]) for kind, name in ((VitConfig, "model"), (HeadConfig, "heads"), (LossConfig, "loss"))]
    network = parts(*told)
    state = {f"average.{key}": value for key, value in network.state_dict().items()}
    checkpoint.fill({"pair": state}, saved[-1], alone=True)
    network.load_state_dict({key.removeprefix("average."): value for key, value in state.items()})
    return network


def _as(kind: type, values: dict[str, Any]) -> Any:
    known = {f.name for f in fields(kind)}
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if key in known})
