"""One row of a list as it is stored, and tables of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

LISTED = pa.schema(
    [
        ("row", pa.int64()),  # of txt and jsonl: the first byte of the line (decompressed); of csv and Parquet: rows before it
        ("url", pa.string()),
        ("caption", pa.string()),
        ("extra", pa.string()),  # the other columns, one JSON object
        ("drop_reason", pa.string()),
        ("error_message", pa.string()),
    ]
)
BATCH = 10_000  # rows
BATCH_BYTES = 1 << 24  # characters of text; a batch is closed at whichever it reaches first

Row = tuple[int, str | None, str | None, str | None, str | None, str | None]


def batches(rows: Iterable[Row]) -> Iterator[pa.Table]:
    """Rows as tables of LISTED, closed at BATCH rows or BATCH_BYTES characters."""
    held: list[Row] = []
    size = 0
    for row in rows:
        held.append(row)
        size += sum(len(text) for text in row[1:4] if text) if row[3] or row[2] else 64
        if len(held) >= BATCH or size >= BATCH_BYTES:
            yield _table(held)
            held, size = [], 0
    if held:
        yield _table(held)


def _table(rows: list[Row]) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, LISTED, strict=True)], schema=LISTED)


def bad(at: int, why: str, text: str | None = None) -> Row:
    """A row that cannot be used, and the beginning of its text."""
    return at, None, None, as_json({"text": text[:200]}) if text else None, "bad_row", why


def good(at: int, url: Any, caption: Any, extra: Mapping[str, Any]) -> Row:
    """One row as it is stored; a value that is no text is stored as JSON."""
    address = url.strip() if isinstance(url, str) else ""
    told = caption if isinstance(caption, str) or caption is None else as_json(caption)
    try:
        if not (told or "").isascii() or not address.isascii():
            f"{told}{address}".encode()
    except UnicodeEncodeError:
        return bad(at, "text that is not UTF-8")
    more = as_json(extra) if extra else None
    if not address:
        return at, None, told or None, more, "no_url", None if url in (None, "") else f"not a text: {type(url).__name__}"
    return at, address, told or None, more, None, None


def as_json(value: Any) -> str:
    """JSON; a number that JSON has no word for is null, a lone surrogate a question mark."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace").decode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
