"""k-NN of the averaged backbone while it learns: does it get better? Labels are looked at here and nowhere else.

Letters: N rows, E a feature's width.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from embedder.encoder import Encoder, frozen
from embedder.evaluation.features import Features, embed_any, numbered
from embedder.evaluation.folder import labelled
from embedder.evaluation.knn import accuracy
from embedder.training.config import TrainConfig
from embedder.training.export import averaged
from embedder.training.sharding import world
from embedder.training.student_teacher import StudentTeacher

K = 20  # neighbours; fewer where there are fewer images


def knn_top1(pair: StudentTeacher, cfg: TrainConfig, device: torch.device) -> float:
    """Weighted k-NN top-1 from the labelled images of `loop.knn` (`folder.labelled`) that are known to those that are asked.

    Every process calls this, embeds its share, and has the same answer. Raises ValueError, in all of them, for a place that
    cannot be read.
    """
    encoder = frozen(averaged(pair, cfg, everywhere=True), str(device), name="average", side=cfg.data.global_side, fit="crop")
    (known, known_NE), (asked, asked_ME) = (_features(encoder, Path(where)) for where in cfg.loop.knn)
    label_N, truth_M, _ = numbered(known, asked)
    return accuracy(known_NE, label_N, asked_ME, truth_M, (K,))[K]


def told(history: dict[str, float]) -> str:
    """For people: the first figure and the last. history: step to top-1, as it went."""
    (start, first), *rest = history.items()
    return f"k-NN top-1: {first:.3f} at step {start}" + "".join(f" -> {top1:.3f} at step {end}" for end, top1 in rest[-1:])


def _features(encoder: Encoder, where: Path) -> tuple[list[str], Tensor]:
    """Classes and features (N, E) of the readable images of one place, whichever process read them."""
    shares = _shared(_own(encoder, where))
    for share in shares:
        if isinstance(share, str):
            raise ValueError(share)
    labels = [label for share in shares for label in share.labels]
    if not labels:
        raise ValueError(f"no readable image in {where}")
    return labels, torch.cat([share.rows_NE for share in shares])


def _own(encoder: Encoder, where: Path) -> Features | str:
    """This process's share, or what went wrong: the others wait for its answer, whatever it is."""
    rank, count = world()
    try:
        return embed_any(encoder, islice(labelled(where), rank, None, count))
    except (ValueError, OSError) as error:
        return str(error)


def _shared(own: Features | str) -> list[Any]:
    """What each process has, in all of them."""
    if world()[1] == 1:
        return [own]
    shares = list[Any]([None] * world()[1])
    distributed.all_gather_object(shares, own)
    return shares
