"""`curate evaluate`: how good an encoder's frozen features are on labelled images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from embedder.encoder import Encoder, load_encoder
from embedder.evaluation.dense import DenseConfig, depth, read_maps, segmentation
from embedder.evaluation.features import Features, class_tokens, embed, numbered
from embedder.evaluation.folder import labelled
from embedder.evaluation.knn import accuracy
from embedder.evaluation.linear import LinearConfig, linear
from embedder.evaluation.logistic import logistic
from embedder.evaluation.retrieval import mean_average_precision
from embedder.vit import VisionTransformer
from pipelines.config import RecipeError, build

Said = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What --set may change."""

    linear: LinearConfig = field(default_factory=LinearConfig)
    """The linear probe's length and grid."""
    dense: DenseConfig = field(default_factory=DenseConfig)
    """The head of segmentation and depth."""


DENSE = ("segmentation", "depth")
LAYERS = 4  # blocks that the linear probe may look at


def evaluate(weights: str, train: Path, val: Path, task: str, changes: Said = ()) -> dict[str, Any]:
    """The figures of one task, with what they were taken on.

    changes: linear.key=value for the linear task, dense.key=value for segmentation and depth.
    Raises ValueError for an encoder, a folder or a task that is not there.
    """
    if task not in (*TASKS, *DENSE):
        raise RecipeError(f"no task {task!r}: {', '.join((*TASKS, *DENSE))}")
    sections = {"linear": "linear", **dict.fromkeys(DENSE, "dense")}
    if any(change.split(".")[0] != sections.get(task) for change in changes):
        raise RecipeError(f"{task} has nothing to set" + (f" but {sections[task]}.KEY" if task in sections else ""))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = load_encoder(weights, device)
    if task in DENSE:
        return _dense(encoder, train, val, task, build(EvaluateConfig, {}, changes).dense)
    found, known, asked = TASKS[task](encoder, train, val, changes)
    classes = len({*known.labels, *asked.labels})
    told = {"task": task, "encoder": encoder.name, "digest": encoder.digest, "classes": classes}
    counts = {"train_images": len(known.names), "val_images": len(asked.names)}
    skipped = {"train_skipped": dict(known.skipped), "val_skipped": dict(asked.skipped)}
    return told | counts | skipped | found


def text(facts: dict[str, Any]) -> str:
    """The figures for people, one a line."""
    return "\n".join(f"{key}: {f'{value:.4f}' if isinstance(value, float) else value}" for key, value in facts.items())


def _dense(encoder: Encoder, train: Path, val: Path, task: str, cfg: DenseConfig) -> dict[str, Any]:
    known, asked = (read_maps(encoder, where, task, cfg.layers) for where in (train, val))
    found = (segmentation if task == "segmentation" else depth)(known, asked, cfg)
    counts = {"train_images": len(known.truth_NSS), "val_images": len(asked.truth_NSS)}
    skipped = {"train_skipped": known.skipped, "val_skipped": asked.skipped}
    return {"task": task, "encoder": encoder.name, "digest": encoder.digest} | counts | skipped | found


Answer = tuple[dict[str, Any], Features, Features]


def _knn(encoder: Encoder, train: Path, val: Path, _: Said) -> Answer:
    known, asked = embed(encoder, labelled(train)), embed(encoder, labelled(val))
    label_N, truth_M, _count = numbered(known.labels, asked.labels)
    top1 = accuracy(known.rows_NE, label_N, asked.rows_NE, truth_M)
    return {"top1": {str(k): value for k, value in top1.items()}}, known, asked


def _retrieval(encoder: Encoder, train: Path, val: Path, _: Said) -> Answer:
    known, asked = embed(encoder, labelled(train)), embed(encoder, labelled(val))
    label_N, truth_M, _count = numbered(known.labels, asked.labels)
    return {"map": mean_average_precision(known.rows_NE, label_N, asked.rows_NE, truth_M)}, known, asked


def _logistic(encoder: Encoder, train: Path, val: Path, _: Said) -> Answer:
    known, asked = _tokens(encoder, train, val, 1)
    width, (label_N, truth_M, _count) = known.rows_NE.shape[1] // 2, numbered(known.labels, asked.labels)
    return dict(logistic(known.rows_NE[:, :width], label_N, asked.rows_NE[:, :width], truth_M)), known, asked


def _linear(encoder: Encoder, train: Path, val: Path, changes: Said) -> Answer:
    cfg = build(EvaluateConfig, {}, changes).linear
    known, asked = _tokens(encoder, train, val, LAYERS)
    assert isinstance(encoder.network, VisionTransformer)
    label_N, truth_M, _ = numbered(known.labels, asked.labels)
    return dict(linear(known.rows_NE, label_N, asked.rows_NE, truth_M, encoder.network.width, cfg)), known, asked


def _tokens(encoder: Encoder, train: Path, val: Path, layers: int) -> tuple[Features, Features]:
    extract = class_tokens(encoder, layers)
    return embed(encoder, labelled(train), extract), embed(encoder, labelled(val), extract)


TASKS: dict[str, Callable[[Encoder, Path, Path, Said], Answer]] = {
    "knn": _knn,
    "linear": _linear,
    "logistic": _logistic,
    "retrieval": _retrieval,
}
