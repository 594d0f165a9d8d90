"""Who learns: the pair as a training begins with it, and its optimiser."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from embedder.encoder import load_encoder, native_bfloat16
from embedder.training.config import TrainConfig
from embedder.training.distillation import teacher_of
from embedder.training.optim import optimiser
from embedder.training.sharding import shard
from embedder.training.student_teacher import StudentTeacher


def learners(cfg: TrainConfig, device: torch.device) -> tuple[StudentTeacher, torch.optim.Optimizer]:
    """Student and teacher as they start, on their device, and the student's optimiser."""
    torch.manual_seed(cfg.loop.seed)
    pair = StudentTeacher(cfg.model, cfg.heads, cfg.loss, _teacher(cfg))
    if cfg.loop.start:
        _start(pair, cfg.loop.start)
    pair = shard(pair.to(device), device, halved(cfg, device))
    if cfg.loop.compile and device.type == "cuda":
        pair.compile_blocks()
    return pair, optimiser(pair.student, cfg.model.blocks, cfg.optim)


def _start(pair: StudentTeacher, weights: str) -> None:
    """Both backbones from an encoder's; positions are resized where the sides differ."""
    source, grid = load_encoder(weights).network, pair.student["backbone"].config.grid
    pretrained = source.state_dict()
    if "pos_embed" in pretrained:
        pretrained["pos_embed"] = source.positions(grid, grid).detach()
    for network in (pair.student, pair.average):
        own = network["backbone"].state_dict()
        found = {key: value for key, value in pretrained.items() if key in own and value.shape == own[key].shape}
        lost = sorted(set(own) - set(found))
        if lost:
            raise ValueError(
                f"{weights} does not fit the model: {lost[0]} and {len(lost) - 1} more tensors are missing or differ"
            )
        network["backbone"].load_state_dict(found)


def _teacher(cfg: TrainConfig) -> nn.ModuleDict | None:
    """The frozen teacher of a distillation, from the last checkpoint of its own training."""
    return teacher_of(Path(cfg.loop.teacher)) if cfg.loop.teacher else None


def halved(cfg: TrainConfig, device: torch.device) -> bool:
    """Whether products are in bf16."""
    return cfg.loop.precision == "bf16" and native_bfloat16(str(device))
