"""The result of a training as an encoder's weights file, in the official key layout."""

from __future__ import annotations

import os
from pathlib import Path

from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from embedder.encoder import save_weights
from embedder.training.config import TrainConfig
from embedder.training.sharding import world
from embedder.training.student_teacher import StudentTeacher
from embedder.vit import VisionTransformer


def export(pair: StudentTeacher, cfg: TrainConfig, path: Path) -> Path:
    """Write the averaged backbone, float16, whole or not at all. Every process calls this; the first one writes."""
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    tensors = get_model_state_dict(pair.average["backbone"], options=whole)
    if world()[0] == 0:
        network = VisionTransformer(cfg.model)
        network.load_state_dict(tensors)
        waiting = path.with_name(f".{path.name}.tmp")
        save_weights(waiting, network, cfg.data.global_side, name=path.stem, fit="crop")
        os.replace(waiting, path)
    return path
