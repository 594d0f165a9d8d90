"""manifest: the curated set, one row per image with where its bytes are and why it is in; and its shards.

`manifest` cuts the selected images into shards (part N describes shard N); `shards` writes them to RUN/curated as
WebDataset tars: KEY.jpg (without metadata), KEY.json (what the manifest says) and, where known, KEY.txt (caption) and
text sidecars.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curation import records
from curation.decode import Reject, suffix
from curation.metadata import STRIPPED, strip
from curation.sets import dump
from curation.stage import MEMBERS, MapStage, WholeStage
from curation.store import Parts, join

PLAIN_SIDECARS = ("cls", "cls2", "caption")


@dataclass(frozen=True, kw_only=True)
class ManifestConfig:
    """How the curated set is cut."""

    shard_images: int = 1000
    """Images per shard."""
    metadata: str = "strip"
    """"strip" positions, serial numbers, thumbnails, comments and the like from exported JPEG, PNG and WebP, or "keep"."""

    def __post_init__(self) -> None:
        if self.metadata not in ("strip", "keep"):
            raise ValueError(f'metadata must be "strip" or "keep", not "{self.metadata}"')
        if not 1 <= self.shard_images <= 10_000:
            raise ValueError(f"shard_images must be 1 to 10,000, not {self.shard_images}")


def list_selected(inputs: Mapping[str, Parts], cfg: ManifestConfig) -> Iterator[tuple[int, pa.Table]]:
    """records.MANIFEST, `shard_images` rows a part, in the order of the pool."""
    shard, waiting = 0, records.MANIFEST.empty_table().select(_COLUMNS)
    for part, chosen in inputs["selection"].kept():
        rows = join(join(chosen, inputs["sanitized"].part(part)), inputs["images"].part(part)).select(_COLUMNS)
        waiting = pa.concat_tables([waiting, rows.cast(waiting.schema)])
        while waiting.num_rows >= cfg.shard_images:
            yield shard, _shard(waiting.slice(0, cfg.shard_images), shard)
            shard, waiting = shard + 1, waiting.slice(cfg.shard_images)
    if waiting.num_rows or not shard:
        yield shard, _shard(waiting, shard)


_COLUMNS = [name for name in records.MANIFEST.names if name not in ("shard", "shard_key")]


def _shard(rows: pa.Table, shard: int) -> pa.Table:
    keys = [f"{shard:05d}{row:04d}" for row in range(rows.num_rows)]
    rows = rows.append_column("shard", pa.array([f"{shard:05d}.tar"] * len(keys), pa.string()))
    return rows.append_column("shard_key", pa.array(keys, pa.string())).cast(records.MANIFEST)


MANIFEST = WholeStage(name="manifest", consumes=("selection", "sanitized", "images"), version=2, fn=list_selected)


def pack(batch: pa.Table, _tool: None, cfg: ManifestConfig) -> pa.Table:
    """Tar members of a batch (records.MANIFEST with `bytes`): records.SHARDS and a column `members`, [(name, bytes)].

    Bytes that are gone, or are no longer those of the manifest, are refused with a reason.
    """
    rows = [_pack_one(row, cfg) for row in batch.to_pylist()]
    return pa.Table.from_pylist(rows, schema=records.SHARDS.append(MEMBERS))


def _exported(data: bytes, kind: str, cfg: ManifestConfig) -> tuple[bytes, str]:
    """The bytes that go into a shard, and whether their metadata is "stripped" or "kept"."""
    if cfg.metadata == "keep" or kind not in STRIPPED:
        return data, "kept"
    return strip(data, kind), "stripped"


def _pack_one(row: dict[str, Any], cfg: ManifestConfig) -> dict[str, Any]:
    data, out = row["bytes"], {"image_id": row["image_id"], "shard": row["shard"]}
    if data is None:
        return out | {"drop_reason": "source_missing", "error_message": f"cannot read {row['uri']}", "members": []}
    if hashlib.sha256(data).hexdigest() != row["bytes_sha256"]:
        return out | {"drop_reason": "source_changed", "error_message": f"{row['uri']} has changed", "members": []}
    try:
        data, out["metadata"] = _exported(data, row["format"], cfg)
    except Reject as reject:
        return out | {"drop_reason": reject.reason, "error_message": reject.detail, "members": []}
    out["sha256"] = hashlib.sha256(data).hexdigest()
    name = f"{row['shard_key']}.{suffix(str(row['format']))}"
    return out | {"member": name, "length": len(data), "members": [{"name": name, "data": data}, *_sidecars(row)]}


def _sidecars(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    facts = {name: row[name] for name in _FACTS if row[name] is not None}
    kept = json.loads(row["sidecars"] or "{}")
    yield _text(row, "json", dump(facts | ({"sidecars": kept} if kept else {})))
    if row["caption"] is not None:
        yield _text(row, "txt", row["caption"])
    yield from (_text(row, name, str(kept[name])) for name in PLAIN_SIDECARS if name in kept)


_FACTS = ("image_id", "sha256", "key", "url", "width", "height", "seed_set", "mode", "seed_id", "similarity", "cluster",
          "weight")  # fmt: skip


def _text(row: dict[str, Any], suffix: str, text: str) -> dict[str, Any]:
    return {"name": f"{row['shard_key']}.{suffix}", "data": text.encode()}


SHARDS = MapStage(
    name="shards",
    consumes=("manifest",),
    version=2,
    setup=lambda _cfg, _side: None,
    fn=pack,
    needs_bytes=True,
    batch_rows=32,
    tar="curated/{part:05d}.tar",
)
