"""Labelled images to frozen features.

Letters: N images, E a feature's width, B images of a batch, S pixels (the encoder's own side).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from curation.decode import Reject, decode
from embedder.encoder import Encoder, normalise
from embedder.evaluation.folder import Item
from embedder.vit import VisionTransformer

Extract = Callable[[Tensor], Tensor]  # uint8 (B, 3, S, S) to float32 (B, E) on the CPU
BATCH = 64  # images


@dataclass(frozen=True, kw_only=True)
class Features:
    """One row per image that could be read."""

    names: list[str]
    labels: list[str]
    rows_NE: Tensor
    skipped: Counter[str] = field(default_factory=Counter)
    """Images that could not be read, by reason."""


def embed(encoder: Encoder, items: Iterable[Item], extract: Extract | None = None) -> Features:
    """Features of labelled images by `extract`, or by the encoder itself (unit rows). Raises ValueError if none is readable."""
    found = embed_any(encoder, items, extract)
    if not found.names:
        raise ValueError(f"no readable image among {sum(found.skipped.values())}: {dict(found.skipped)}")
    return found


def embed_any(encoder: Encoder, items: Iterable[Item], extract: Extract | None = None) -> Features:
    """As `embed`, of what may hold no readable image."""
    names, labels, parts, waiting, skipped = list[str](), list[str](), list[Tensor](), list[Tensor](), Counter[str]()
    take = extract or encoder
    for name, label, data in items:
        try:
            waiting.append(view(data, encoder))
        except Reject as reject:
            skipped[reject.reason] += 1
            continue
        names.append(name)
        labels.append(label)
        if len(waiting) == BATCH:
            parts.append(take(torch.stack(waiting)))
            waiting.clear()
    if waiting:
        parts.append(take(torch.stack(waiting)))
    rows_NE = torch.cat(parts) if parts else torch.empty(0, encoder.dim)
    return Features(names=names, labels=labels, rows_NE=rows_NE, skipped=skipped)


def view(data: bytes, encoder: Encoder) -> Tensor:
    """(3, S, S) uint8: for centre crops 8/7 of the side first (256 for 224, as DINOv2), else the encoder's own fit."""
    if encoder.fit == "short":
        raise ValueError(f"{encoder.name} keeps each image's aspect; evaluation needs a square, such as size 320x320")
    if encoder.fit != "crop":
        return decode(data, encoder.side, encoder.fit)
    wide = round(encoder.side * 8 / 7)
    start = (wide - encoder.side) // 2
    return decode(data, wide, "crop")[:, start : start + encoder.side, start : start + encoder.side].contiguous()


def class_tokens(encoder: Encoder, layers: int) -> Extract:
    """The last `layers` blocks' class tokens, then the mean of the last block's patches: (B, (layers + 1) * D)."""
    network = encoder.network
    if not isinstance(network, VisionTransformer):
        raise ValueError(f"{encoder.name} is no vision transformer, so it has no class tokens")
    layers = min(layers, len(network.blocks))

    @torch.inference_mode()
    def extract(image_B3SS: Tensor) -> Tensor:
        pixels = normalise(image_B3SS.to(encoder.device).float() / 255)
        with torch.autocast(torch.device(encoder.device).type, torch.bfloat16, enabled=encoder.half):
            found = network.get_intermediate_layers(pixels, layers, return_class_token=True)
        return torch.cat([*(token for _, token in found), found[-1][0].mean(1)], dim=1).float().cpu()

    return extract


def numbered(train: list[str], val: list[str]) -> tuple[Tensor, Tensor, int]:
    """Class numbers (N,) int64 of both, and the count of classes. A class that only `val` has can never be guessed."""
    number = {label: n for n, label in enumerate(sorted({*train, *val}))}
    return torch.tensor([number[x] for x in train]), torch.tensor([number[x] for x in val]), len(number)
