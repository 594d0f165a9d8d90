"""descriptors: one copy-detection descriptor per image (SSCD, arXiv 2202.10261, or a network of that kind)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from curation import records
from curation.encode import encode_batch
from curation.stage import Encoder, MapStage, unset
from curation.whitening import KINDS


@dataclass(frozen=True, kw_only=True)
class DescriptorsConfig:
    """Which network tells copies."""

    network: str = "copy-small"
    """A shipped network by name, or a weights file: one of this project's, or one of SSCD's (.torchvision.pt, ...)."""
    size: str | int = ""
    """"288": the short edge in pixels, aspect kept; "320x320": a square whatever the aspect; "": the network's own."""
    whiten: str = "none"
    """"centre" or "pca": subtract the mean of the pool's descriptors, or whiten them on their principal axes (SSCD)."""
    whiten_sample: int = 100_000
    """Pool images that it is fitted on."""

    def __post_init__(self) -> None:
        if self.whiten not in KINDS:
            raise ValueError(f"whiten is one of {', '.join(KINDS)}, not {self.whiten!r}")
        if self.whiten_sample < 1:
            raise ValueError(f"whiten_sample is a number of images, not {self.whiten_sample}")


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
DESCRIBED = replace(STAGE, name="described")
"""The same, where `descriptors` are what whitening makes of them."""
