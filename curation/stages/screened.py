"""screened and cleaned: images worth looking at closely. Quality rules, and near-exact duplicates by PCA hash.

`basis` fits the hash on a sample of the pool, `screened` measures every image, `cleaned` drops all but one of the images
that share a hash.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from curation import quality, records
from curation.decode import Reject, decode_grey
from curation.sets import in_pool, shuffled_order
from curation.sources import read_bytes
from curation.stage import MapStage, WholeStage
from curation.store import Parts, join, keep

BASIS_SAMPLE = 1000  # images that the PCA hash is fitted on


@dataclass(frozen=True, kw_only=True)
class ScreenedConfig:
    """Limits hold for images that only the pool vouches for: seed and protected sets are curated already."""

    min_side: int = 32
    """Shorter side, pixels."""
    max_aspect: float = 5.0
    """Longer side / shorter side."""
    min_entropy: float = 0.5
    """Bits of the grey histogram (0..8); below: an almost empty image."""
    min_contrast: float = 2.0
    """Standard deviation of grey levels; below: flat."""
    min_sharpness: float = 0.5
    """Standard deviation of the Laplacian at 128 px; below: out of focus beyond use."""
    hash_bits: int = 64
    """Bits of the PCA hash; 0 turns it off."""
    seed: int = 0
    """Of the sample that the hash is fitted on."""

    def __post_init__(self) -> None:
        if self.hash_bits % 8 or not 0 <= self.hash_bits <= quality.HASH_SIDE**2:
            raise ValueError(f"hash_bits must be a multiple of 8 up to {quality.HASH_SIDE**2}, not {self.hash_bits}")


def fit_hash(inputs: Mapping[str, Parts], cfg: ScreenedConfig) -> Iterator[tuple[int, pa.Table]]:
    """The PCA basis of a uniform sample of the pool, the same for any split into parts."""
    thumbs = [_thumbnail(data) for data in read_bytes(_sample(inputs["images"], cfg.seed))]
    usable = np.array([t for t in thumbs if t is not None], np.uint8).reshape(-1, quality.HASH_SIDE, quality.HASH_SIDE)
    rows = quality.fit_basis(usable, cfg.hash_bits) if len(usable) and cfg.hash_bits else np.zeros((0, 256), np.float32)
    numbers = pa.array(range(-1, len(rows) - 1), pa.int32())
    yield 0, pa.table({"row": numbers, "vector": rows.tolist()}, schema=records.BASIS)


def _sample(images: Parts, seed: int) -> pa.Table:
    """References to the bytes of BASIS_SAMPLE pool images, those of lowest shuffled rank."""
    columns = ["image_id", "sets", *(f.name for f in records.BYTES_REF)]
    best: list[tuple[int, str, dict[str, Any]]] = []
    for _, table in images.kept(columns):
        pool = table.filter(in_pool(table["sets"]))
        ranks = shuffled_order(pool["image_id"].to_pylist(), seed).tolist()
        rows = ((rank, row["image_id"], row) for rank, row in zip(ranks, pool.to_pylist(), strict=True))
        best = heapq.nsmallest(BASIS_SAMPLE, [*best, *rows], key=lambda item: item[:2])
    return pa.Table.from_pylist([row for _, _, row in best], schema=pa.schema([records.IMAGE_ID, *records.BYTES_REF]))


def _thumbnail(data: bytes | None) -> quality.Grey | None:
    try:
        return quality.thumbnail(decode_grey(data or b"", quality.SCREEN_SIDE))
    except Reject:
        return None


BASIS = WholeStage(name="basis", consumes=("images",), version=1, fn=fit_hash)


def basis_matrix(_cfg: ScreenedConfig, side: Mapping[str, pa.Table]) -> quality.Floats:
    """records.BASIS rows as the (1 + bits, 256) matrix of quality.pca_hash."""
    rows = side["basis"]["vector"].to_pylist()
    return np.array(rows, np.float32).reshape(len(rows), quality.HASH_SIDE**2)


def screen(batch: pa.Table, basis: quality.Floats, cfg: ScreenedConfig) -> pa.Table:
    """Measure a batch (records.IMAGES with `bytes`) and judge it (records.SCREENED)."""
    trusted = [names != [records.POOL] for names in batch["sets"].to_pylist()]
    rows = [
        {"image_id": row["image_id"]} | _screen_one(row, basis, cfg, trust)
        for row, trust in zip(batch.select(["image_id", "width", "height", "bytes"]).to_pylist(), trusted, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=records.SCREENED)


def _screen_one(row: dict[str, Any], basis: quality.Floats, cfg: ScreenedConfig, trusted: bool) -> dict[str, Any]:
    shape = _shape_verdict(row["width"], row["height"], cfg)
    if shape and not trusted:
        return shape
    try:
        grey = decode_grey(row["bytes"] or b"", quality.SCREEN_SIDE)
    except Reject as reject:
        return {"drop_reason": reject.reason, "error_message": reject.detail}
    found: dict[str, Any] = {name: getattr(quality, name)(grey) for name, _ in _LIMITS}
    found["pca_hash"] = quality.pca_hash(quality.thumbnail(grey), basis) if len(basis) else None
    return found if trusted else found | _pixel_verdict(found, cfg)


def _shape_verdict(width: int, height: int, cfg: ScreenedConfig) -> dict[str, Any]:
    short, long = sorted((width, height))
    if short < cfg.min_side:
        return {"drop_reason": "too_small", "drop_score": short, "drop_limit": cfg.min_side}
    if long / short > cfg.max_aspect:
        return {"drop_reason": "bad_aspect", "drop_score": long / short, "drop_limit": cfg.max_aspect}
    return {}


_LIMITS = (("contrast", "flat"), ("entropy", "low_entropy"), ("sharpness", "blurred"))


def _pixel_verdict(found: dict[str, Any], cfg: ScreenedConfig) -> dict[str, Any]:
    for name, reason in _LIMITS:
        limit = getattr(cfg, f"min_{name}")
        if found[name] < limit:
            return {"drop_reason": reason, "drop_score": found[name], "drop_limit": limit}
    return {}


SCREENED = MapStage(
    name="screened",
    consumes=("images",),
    also=("basis",),
    version=2,
    setup=basis_matrix,
    fn=screen,
    needs_bytes=True,
)

Best = dict[str, tuple[int, int, str]]  # hash -> (-pixels, -bytes, image_id): the smallest is the representative


def drop_near_exact(inputs: Mapping[str, Parts], _cfg: ScreenedConfig) -> Iterator[tuple[int, pa.Table]]:
    """Of the pool's images with one PCA hash keep the one with most pixels, then most bytes, then the lowest id."""
    screened, images = inputs["screened"], inputs["images"]
    best: Best = {}
    for part, table in screened.tables(["image_id", "pca_hash", "drop_reason"]):
        for key, rank in _ranks(keep(table), images, part):
            best[key] = min(best.get(key, rank), rank)
    for part, table in screened.tables():
        cause = {rank[2]: best[key][2] for key, rank in _ranks(keep(table), images, part)}
        causes = [cause.get(name, name) for name in table["image_id"].to_pylist()]
        yield part, _mark(table, causes)


def _ranks(rows: pa.Table, images: Parts, part: int) -> Iterator[tuple[str, tuple[int, int, str]]]:
    """(hash, rank) of the images that only the pool holds."""
    facts = images.kept_part(part, ["image_id", "sets", "width", "height", "length"])
    for row in join(rows.select(["image_id", "pca_hash"]), facts).to_pylist():
        if row["sets"] == [records.POOL] and row["pca_hash"]:
            yield row["pca_hash"], (-row["width"] * row["height"], -row["length"], row["image_id"])


def _mark(table: pa.Table, causes: Sequence[str | None]) -> pa.Table:
    columns = table.to_pydict()
    for row, (name, cause) in enumerate(zip(columns["image_id"], causes, strict=True)):
        if cause != name:
            columns["drop_reason"][row], columns["drop_cause"][row] = "near_exact_duplicate", cause
    return pa.Table.from_pydict(columns, schema=records.CLEANED)


CLEANED = WholeStage(name="cleaned", consumes=("screened", "images"), version=1, fn=drop_near_exact)
