"""embeddings: one feature per surviving image, from any encoder (the paper: a ViT-H/16; DINOv2, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from curation import records
from curation.encode import encode_batch
from curation.stage import Encoder, MapStage, unset


@dataclass(frozen=True, kw_only=True)
class EmbeddingsConfig:
    """Which network tells what is alike."""

    network: str = "vitti16-small"
    """A shipped or fetched network by name, or a weights file: this project's, DINOv2's, DINOv3's, I-JEPA's or MAE's."""
    size: str | int = ""
    """Side in pixels, such as 518; "": the network's own."""
    pool: str = ""
    """"cls", "mean" of the patches, or "cls+mean"; "": the network's own."""
    compile: bool = False
    """On a GPU, compile a transformer's blocks: some half a minute per worker, repaid from some 100,000 images on."""


def embed(batch: pa.Table, encoder: Encoder, _cfg: EmbeddingsConfig) -> pa.Table:
    """A batch (image_id, bytes) to records.embeddings(encoder.dim)."""
    return encode_batch(batch, encoder, "embedding", records.embeddings(encoder.dim))


STAGE = MapStage(
    name="embeddings",
    consumes=("survivors", "sanitized"),
    version=3,
    setup=unset,
    fn=embed,
    needs_bytes=True,
    gpu=True,
)
