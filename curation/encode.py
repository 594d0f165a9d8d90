"""A batch of encoded images through a frozen network: what `descriptors` and `embeddings` have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from curation import records
from curation.decode import Reject, decode
from curation.stage import Encoder
from curation.store import vector_array


def encode_batch(batch: pa.Table, encoder: Encoder, column: str, schema: pa.Schema) -> pa.Table:
    """A batch (image_id, bytes) to `schema` (image_id, `column`, verdict); undecodable images: zeros and a reason."""
    feed = getattr(encoder, "feed", None)  # a network on a GPU brings decoders of its own
    data = batch["bytes"].to_pylist()
    vectors, rejects = feed(data, encoder.side, encoder.fit) if feed and data else _in_turn(data, encoder)
    vectors = unit(np.asarray(vectors, np.float32))
    reasons: dict[int, dict[str, object]] = {
        row: {"drop_reason": reject.reason, "error_message": reject.detail} for row, reject in rejects.items()
    }
    broken = set(np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist()) - set(rejects)
    reasons |= {row: {"drop_reason": "not_finite", "error_message": f"{encoder.name} gave no number"} for row in broken}
    vectors[list(reasons)] = 0
    columns: list[Any] = [batch["image_id"].combine_chunks(), vector_array(vectors, schema.field(column).type)]
    return pa.Table.from_arrays([*columns, *records.verdicts(batch.num_rows, reasons)], schema=schema)


def _in_turn(data: list[bytes | None], encoder: Encoder) -> tuple[np.ndarray, dict[int, Reject]]:
    """(N, D) vectors, and what could not be decoded: all decoded, then all encoded."""
    pixels: dict[int, Any] = {}
    rejects: dict[int, Reject] = {}
    for row, one in enumerate(data):
        try:
            pixels[row] = decode(one or b"", encoder.side, encoder.fit)
        except Reject as reject:
            rejects[row] = reject
    vectors = np.zeros((len(data), encoder.dim), np.float32)
    for rows in by_size(pixels):
        vectors[rows] = np.asarray(encoder(torch.stack([pixels[row] for row in rows])), np.float32)
    return vectors, rejects


def by_size(pixels: dict[int, Any]) -> list[list[int]]:
    """Row numbers, those of pictures of one size together: networks that keep the aspect get them size by size."""
    sizes: dict[tuple[int, ...], list[int]] = {}
    for row, picture in pixels.items():
        sizes.setdefault(tuple(picture.shape), []).append(row)
    return list(sizes.values())


def unit(vectors: np.ndarray) -> np.ndarray:
    """(N, D) rows scaled to unit length, float32; zero rows stay zero."""
    lengths = np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
