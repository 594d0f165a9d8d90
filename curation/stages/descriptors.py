"""descriptors: one copy-detection descriptor per image (SSCD, arXiv 2202.10261, or a network of that kind)."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from curation import records
from curation.encode import encode_batch
from curation.stage import Encoder, MapStage, unset


@dataclass(frozen=True, kw_only=True)
class DescriptorsConfig:
    """Which network tells copies."""

    network: str = "copy-small"
    """A shipped network by name, or a weights file: one of this project's, or one of SSCD's (.torchvision.pt, ...)."""
    size: str = ""
    """"288": the short edge in pixels, aspect kept; "320x320": a square whatever the aspect; "": the network's own."""


def describe(batch: pa.Table, encoder: Encoder, _cfg: DescriptorsConfig) -> pa.Table:
    """A batch (image_id, bytes) to records.descriptors(encoder.dim)."""
    return encode_batch(batch, encoder, "descriptor", records.descriptors(encoder.dim))


STAGE = MapStage(
    name="descriptors",
    consumes=("sanitized",),
    version=3,
    setup=unset,
    fn=describe,
    needs_bytes=True,
    gpu=True,
)
