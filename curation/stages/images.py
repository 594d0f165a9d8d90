"""images: every file or member found, identified by content; exact duplicates dropped.

Two stages make the noun. `scanned` reads the encoded bytes once, checks the header and hashes (part by part);
`images` finds the ids that occur more than once, over all parts, in passes that each hold a bounded share of the ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curation import records
from curation.decode import Reject, read_header
from curation.sources import MAX_BYTES, Found, read_units
from curation.stage import MapStage, WholeStage
from curation.store import Parts

IDS_PER_PASS = 1 << 24  # ids held at once while looking for duplicates: about 1 GiB


@dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """What an image must be before anything looks at its pixels."""

    max_pixels: int = 178_956_970
    """Stored width x height above which a file is refused unread (Pillow's own bomb limit)."""
    max_bytes: int = 256 * 2**20
    """Encoded bytes above which a file is refused."""

    def __post_init__(self) -> None:
        if not 0 < self.max_bytes <= MAX_BYTES:
            raise ValueError(f"max_bytes must be 1 to {MAX_BYTES}: larger files are never read, not {self.max_bytes}")


def scan(units: pa.Table, _tool: None, cfg: ImagesConfig) -> pa.Table:
    """One row per file or member of the input units (records.SCANNED)."""
    return pa.Table.from_pylist([_row(found, cfg) for found in read_units(units)], schema=records.SCANNED)


def _row(found: Found, cfg: ImagesConfig) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(found, name) for name in _FOUND}
    if found.data is not None:
        row["sha256"] = hashlib.sha256(found.data).hexdigest()
        row["image_id"] = records.short_id(row["sha256"])
    if found.reason is not None or found.data is None:
        return row | {"drop_reason": found.reason or "unreadable_file", "error_message": found.detail}
    if len(found.data) > cfg.max_bytes:
        return row | {"drop_reason": "too_many_bytes", "drop_score": len(found.data), "drop_limit": cfg.max_bytes}
    try:
        return row | vars(read_header(found.data, cfg.max_pixels))
    except Reject as reject:
        return row | {"drop_reason": reject.reason, "error_message": reject.detail}


_FOUND = ("key", "uri", "member", "offset", "length", "url", "caption", "sidecars", "set")

SCANNED = MapStage(
    name="scanned",
    consumes=("sources",),
    version=2,
    setup=lambda _cfg, _side: None,
    fn=scan,
    batch_rows=1 << 30,
)


def identify(inputs: Mapping[str, Parts], _cfg: ImagesConfig) -> Iterator[tuple[int, pa.Table]]:
    """Keep the first row of every image_id, in part order; the others become `exact_duplicate`s of it.

    Equal bytes are one image, in as many sets as hold it: `sets` of the kept row names them all.
    """
    scanned = inputs["scanned"]
    firsts = _first_rows(scanned)
    for part, table in scanned.tables():
        yield part, _resolve(part, table, firsts)


Firsts = dict[str, tuple[int, int, list[str]]]  # repeated id -> part and row of its first image, and all its sets


def _first_rows(scanned: Parts) -> Firsts:
    """Only ids that occur more than once, or in more than one place."""
    rows = sum(scanned.store.receipts("scanned")[part].kept for part in scanned.numbers)
    digits = "0123456789abcdef"
    prefixes = [""]
    while rows / len(prefixes) > IDS_PER_PASS:
        prefixes = [p + d for p in prefixes for d in digits]
    firsts: Firsts = {}
    for prefix in prefixes:
        firsts |= _repeated(scanned, prefix)
    return firsts


def _repeated(scanned: Parts, prefix: str) -> Firsts:
    seen: dict[bytes, tuple[int, int]] = {}
    repeated: Firsts = {}
    for part, table in scanned.tables(["image_id", "set", "drop_reason"]):
        for row, (name, set_name, reason) in enumerate(zip(*(c.to_pylist() for c in table.columns), strict=True)):
            if reason is not None or not name.startswith(prefix):
                continue
            first = seen.setdefault(bytes.fromhex(name), (part, row))
            if first != (part, row):
                repeated.setdefault(name, (*first, []))[2].append(set_name)
    return repeated


def _resolve(part: int, table: pa.Table, firsts: Firsts) -> pa.Table:
    """records.SCANNED to records.IMAGES, with the verdicts on repeated ids."""
    columns = table.to_pydict()
    own = columns.pop("set")
    columns["sets"] = [[name] for name in own]
    for row, name in enumerate(columns["image_id"]):
        first = firsts.get(name) if columns["drop_reason"][row] is None else None
        if first is None:
            continue
        if first[:2] == (part, row):
            columns["sets"][row] = sorted({own[row], *first[2]})
        else:
            columns["drop_reason"][row], columns["drop_cause"][row] = "exact_duplicate", name
    return pa.Table.from_pydict(columns, schema=records.IMAGES)


IMAGES = WholeStage(name="images", consumes=("scanned",), version=1, fn=identify)
