"""edges: pairs of images that are copies of one another, or of a protected image.

Source: DINOv2 paper, appendix A.3: pairs above a cosine threshold. A pair that the descriptors allege is believed if
its thumbnails, laid over each other, bear it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from curation import align, records
from curation.decode import Reject, decode_grey
from curation.encode import unit
from curation.graph.components import ends
from curation.graph.exact import block_pairs, pairs_above
from curation.sets import Bools, in_any, in_pool, in_seeds
from curation.sources import read_bytes
from curation.stage import WholeStage, derived
from curation.store import Parts, join, matrix

CHUNK = 65_536  # images compared at once
PAIRS, THUMBS = 4096, 256  # pairs and images looked at at once


@dataclass(frozen=True)
class _Chunk:
    """Up to CHUNK images: who competes for survival, who is protected."""

    ids: pa.Array
    vectors: np.ndarray  # (N, D) float32, unit rows
    rivals: Bools  # pool images and as-is seeds
    judged: Bools  # everything that may not copy a protected image
    protected: Bools


@dataclass(frozen=True, kw_only=True)
class EdgesConfig:
    """Which pairs are looked at and kept. `survivors` judges them; what is not here, it cannot see."""

    self_similarity: float | None = derived(None)
    """Cosine from which two pool images make a pair."""
    reference_similarity: float | None = derived(None)
    """Cosine from which an image and a protected one make a pair."""
    agreement: bool = derived(False)
    """Whether the thumbnails of each pair are laid over each other (curation/align.py)."""
    k: int = derived(64)
    """Most copies looked at per image."""
    as_is: tuple[str, ...] = derived()
    """Seed sets that enter the manifest as they are: they compete with the pool."""


def find_edges(inputs: Mapping[str, Parts], cfg: EdgesConfig) -> Iterator[tuple[int, pa.Table]]:
    """Pairs of rivals at or above self_similarity, (image, protected image) pairs at or above reference_similarity."""
    bunches = _bunches(inputs["descriptors"])
    for number, (p, q) in enumerate(block_pairs(list(range(len(bunches))))):
        x = _load(inputs, bunches[p], cfg)
        y = x if p == q else _load(inputs, bunches[q], cfg)
        tables = [_pairs(x, y, x.rivals, y.rivals, cfg.self_similarity, cfg.k, p == q)]
        tables.append(_pairs(x, y, x.judged, y.protected, cfg.reference_similarity, cfg.k, False))
        if p != q:
            tables.append(_pairs(y, x, y.judged, x.protected, cfg.reference_similarity, cfg.k, False))
        edges, parts = pa.concat_tables(tables), sorted({*bunches[p], *bunches[q]})
        yield number, _looked_at(edges, inputs["images"], parts) if cfg.agreement else edges


def _looked_at(edges: pa.Table, images: Parts, parts: list[int]) -> pa.Table:
    """The edges with the agreement of their thumbnails."""
    names, thumbs = _thumbnails(images, parts, ends(edges))
    a, b = (np.array(pc.index_in(edges[end], names)) for end in ("a", "b"))
    scores = [align.agreement(thumbs[a[at : at + PAIRS]], thumbs[b[at : at + PAIRS]]) for at in range(0, len(a), PAIRS)]
    agreed = pa.array(np.concatenate([np.zeros(0, np.float32), *scores]))
    return edges.set_column(edges.schema.get_field_index("agreement"), records.EDGES.field("agreement"), agreed)


def _thumbnails(images: Parts, parts: list[int], ids: pa.Array) -> tuple[pa.Array, torch.Tensor]:
    """Ids and local contrast (align.local_contrast) of the images among `ids`; one that cannot be read agrees with none."""
    names: list[str] = []
    thumbs = [torch.zeros(0, align.SIDE, align.SIDE)]
    for part in parts:
        table = images.kept_part(part, ["image_id", *(f.name for f in records.BYTES_REF)])
        rows = table.filter(pc.is_in(table["image_id"], ids))
        for at in range(0, rows.num_rows, THUMBS):
            batch = rows.slice(at, THUMBS)
            names += batch["image_id"].to_pylist()
            thumbs.append(align.local_contrast(np.stack([_grey(data) for data in read_bytes(batch)])))
    return pa.array(names, pa.string()), torch.cat(thumbs)


def _grey(data: bytes | None) -> np.ndarray:
    try:
        return decode_grey(data or b"", 2 * align.SIDE)
    except Reject:
        return np.zeros((2 * align.SIDE, 2 * align.SIDE), np.uint8)


def _bunches(descriptors: Parts) -> list[list[int]]:
    """Consecutive parts put together up to CHUNK images."""
    receipts, bunches, room = descriptors.store.receipts("descriptors"), [], 0
    for part in descriptors.numbers:
        if not bunches or receipts[part].kept > room:
            bunches.append([])
            room = CHUNK
        bunches[-1].append(part)
        room -= receipts[part].kept
    return bunches


def _load(inputs: Mapping[str, Parts], parts: list[int], cfg: EdgesConfig) -> _Chunk:
    rows = pa.concat_tables(_with_sets(inputs, part, ["image_id", "descriptor"]) for part in parts)
    sets = rows["sets"]
    seeds, pool = in_seeds(sets, set(cfg.as_is)), in_pool(sets)
    protected = in_any(sets, records.PROTECT_PREFIX)
    judged = pool | in_any(sets, records.SEED_PREFIX)
    vectors = unit(matrix(rows["descriptor"]))
    return _Chunk(rows["image_id"].combine_chunks(), vectors, (pool | seeds), judged, protected)


def _with_sets(inputs: Mapping[str, Parts], part: int, columns: list[str]) -> pa.Table:
    """Columns of a part's kept descriptors, and the sets of each image."""
    return join(inputs["descriptors"].kept_part(part, columns), inputs["images"].kept_part(part, ["image_id", "sets"]))


def _pairs(x: _Chunk, y: _Chunk, mine: Bools, theirs: Bools, least: float | None, k: int, same: bool) -> pa.Table:
    if least is None:
        raise ValueError("the copy network has no calibrated thresholds: name both in [survivors]")
    i, j, similarity = pairs_above(x.vectors[mine], y.vectors[theirs], least, k, same)
    a = x.ids.take(pa.array(np.flatnonzero(mine)[i]))
    b = y.ids.take(pa.array(np.flatnonzero(theirs)[j]))
    unseen = pa.nulls(len(a), pa.float32())
    edges = pa.Table.from_arrays([a, b, pa.array(similarity), unseen], schema=records.EDGES)
    return edges.filter(pc.not_equal(edges["a"], edges["b"]))


STAGE = WholeStage(name="edges", consumes=("descriptors", "images"), version=3, fn=find_edges)
