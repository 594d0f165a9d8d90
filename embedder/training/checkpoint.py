"""A training on disk: shards of the pair and the optimiser, and where the loop was. Whole, or not there.

    RUN/train/step-00000500/     .metadata and *.distcp of torch.distributed.checkpoint, loop.json

Written under another name and renamed when every process is done. Read by any number of processes.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from embedder.training.sharding import world
from embedder.training.student_teacher import StudentTeacher

LOOP = "loop.json"


def save(
    folder: Path, step: int, pair: StudentTeacher, optimizer: torch.optim.Optimizer, loop: dict[str, Any], keep: int
) -> Path:
    """Write step's checkpoint; every process calls this. loop: what JSON can hold. Older ones than the last `keep` go."""
    final, waiting = folder / f"step-{step:08d}", folder / f".step-{step:08d}.tmp"
    rank, count = world()
    if rank == 0:
        shutil.rmtree(waiting, ignore_errors=True)
        waiting.mkdir(parents=True)
    _meet()
    model, optim = get_state_dict(pair, optimizer)
    with _alone():
        dcp.save({"pair": model, "optim": optim}, checkpoint_id=waiting, no_dist=count == 1)
    _meet()
    if rank == 0:
        (waiting / LOOP).write_text(json.dumps({"step": step, **loop}, indent=1))
        shutil.rmtree(final, ignore_errors=True)
        waiting.rename(final)
        for old in found(folder)[:-keep]:
            shutil.rmtree(old)
    _meet()
    return final


def load(path: Path, pair: StudentTeacher, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Fill the pair and the optimiser from a checkpoint; what `loop` was. Raises ValueError if it is of another model."""
    model, optim = get_state_dict(pair, optimizer)
    state = {"pair": model, "optim": optim}
    try:
        with _alone():
            dcp.load(state, checkpoint_id=path, no_dist=world()[1] == 1)
    except (RuntimeError, ValueError, KeyError, dcp.api.CheckpointException) as error:
        raise ValueError(f"{path} is no checkpoint of this model: {str(error).splitlines()[0]}") from error
    set_state_dict(pair, optimizer, model_state_dict=state["pair"], optim_state_dict=state["optim"])
    return json.loads((path / LOOP).read_text())


def found(folder: Path) -> list[Path]:
    """Whole checkpoints, the oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / LOOP).exists())


def _meet() -> None:
    if world()[1] > 1:
        distributed.barrier()


@contextmanager
def _alone() -> Iterator[None]:
    """Without torch's warning that one process is one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
