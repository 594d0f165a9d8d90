"""What a training has learned: the averaged backbone as a network, and as an encoder's weights file in the official layout."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from embedder.encoder import save_weights
from embedder.training.config import TrainConfig
from embedder.training.sharding import world
from embedder.training.student_teacher import StudentTeacher
from embedder.vit import VisionTransformer

NAME = "encoder.safetensors"


def export(pair: StudentTeacher, cfg: TrainConfig, path: Path) -> Path:
    """Write the averaged backbone, float16, whole or not at all. Every process calls this; the first one writes."""
    network = averaged(pair, cfg)
    if world()[0] == 0:
        write(network, cfg, path)
    return path


def averaged(pair: StudentTeacher, cfg: TrainConfig, everywhere: bool = False) -> VisionTransformer:
    """A copy of the averaged backbone, whole: on the CPU of the first process (elsewhere without values), or `everywhere`, each
    time on the process's device. Every process calls this; no random number is drawn."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=not everywhere)
    tensors = get_model_state_dict(pair.average["backbone"], options=options)
    with torch.device("meta"):
        network = VisionTransformer(cfg.model)
    if tensors:
        network.load_state_dict({key: value.detach().clone() for key, value in tensors.items()}, assign=True)
    return network


def write(network: VisionTransformer, cfg: TrainConfig, path: Path) -> None:
    """An averaged backbone as a weights file, whole or not at all."""
    waiting = path.with_name(f".{path.name}.tmp")
    save_weights(waiting, network, cfg.data.global_side, name=path.stem, fit="crop")
    os.replace(waiting, path)
