"""Parquet files with image bytes: a plain binary column, or the struct<bytes, path> of Hugging Face."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.sources.found import Found, describe, filesystem, unit

USUAL = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes", "content", "data")
KEYS = ("key", "__key__", "uid", "id", "image_id", "file_name", "path")
BATCH = 64  # rows decoded at once


def bytes_column(schema: pa.Schema) -> str | None:
    """The column that holds image bytes, as `name` or `name.bytes`; usual names first. None if there is none."""
    found = {}
    for field in schema:
        if _binary(field.type):
            found[field.name] = field.name
        elif pa.types.is_struct(field.type):
            inner = {f.name: f.type for f in field.type}
            if "bytes" in inner and _binary(inner["bytes"]):
                found[field.name] = f"{field.name}.bytes"
    usual = [found[name] for name in USUAL if name in found]
    return next(iter([*usual, *found.values()]), None)


def _binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def plan(set_name: str, uri: str, key: str, size: int, modified: str, part_rows: int) -> list[dict[str, Any]]:
    """Units of whole row groups, or of slices of a large one; a single unit with an error if there are no images."""
    fs, path = filesystem(uri)
    facts = {"bytes": size, "modified": modified}
    with fs.open(path, "rb") as file:
        parquet = pq.ParquetFile(file)
        if bytes_column(parquet.schema_arrow) is None:
            names = ", ".join(parquet.schema_arrow.names)
            return [unit(set_name, "parquet", uri, key, error_message=f"no column of image bytes among: {names}", **facts)]
        sizes = [parquet.metadata.row_group(g).num_rows for g in range(parquet.metadata.num_row_groups)]
    edges = _edges(sizes, part_rows)
    return [
        unit(set_name, "parquet", uri, key, start=a, stop=b, images=b - a, **facts)
        for a, b in zip(edges, edges[1:], strict=False)
    ]


def _edges(sizes: list[int], part_rows: int) -> list[int]:
    """Row numbers where units begin and end."""
    edges, at = [0], 0
    for size in sizes:
        edges.extend(range(at + part_rows, at + size, part_rows))
        at += size
        if at - edges[-1] >= part_rows / 2 or at == sum(sizes):
            edges.append(at)
    return list(dict.fromkeys(edges))


def read(row: dict[str, Any]) -> Iterator[Found]:
    """The rows of one unit; scalar columns become sidecars."""
    fs, path = filesystem(row["uri"])
    with fs.open(path, "rb") as file:
        parquet = pq.ParquetFile(file)
        column = str(bytes_column(parquet.schema_arrow))
        plain = [f.name for f in parquet.schema_arrow if not pa.types.is_nested(f.type) and not _binary(f.type)]
        for at, values in _rows(parquet, row["start"], row["stop"], [column.partition(".")[0], *plain]):
            yield _found(row, at, column, values)


def _rows(parquet: pq.ParquetFile, start: int, stop: int, columns: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number, row) for start <= row number < stop, few at a time."""
    first = 0
    for group in range(parquet.metadata.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        if first < stop and first + rows > start:
            at = first
            for batch in parquet.iter_batches(BATCH, row_groups=[group], columns=columns, use_threads=False):
                low, high = max(start - at, 0), min(stop - at, batch.num_rows)
                if low < high:
                    yield from enumerate(batch.slice(low, high - low).to_pylist(), at + low)
                at += batch.num_rows
        first += rows


def _found(row: dict[str, Any], at: int, column: str, values: dict[str, Any]) -> Found:
    name, _, inner = column.partition(".")
    value = values.pop(name)
    data = value.get("bytes") if inner and value else value
    named = (value or {}).get("path") if inner else None
    key = next((str(values[k]) for k in KEYS if values.get(k) is not None), None) or named or f"{row['key']}-{at}"
    base: dict[str, Any] = {"set": row["set"], "key": key, "uri": row["uri"], "member": column, "offset": at}
    if data is None:
        return Found(**base, reason="no_bytes", detail=f"{column} is null")
    return Found(**base, length=len(data), data=data, **describe(values))


class Cursor:
    """Reads rows of one file and column in ascending order without decoding a row group twice."""

    def __init__(self, uri: str, column: str) -> None:
        self.uri, self.column = uri, column
        fs, path = filesystem(uri)
        self.file = fs.open(path, "rb")
        self.parquet = pq.ParquetFile(self.file)
        self.at, self.rows = -1, iter(())

    def read(self, wanted: list[int]) -> dict[int, bytes | None]:
        """Row number -> bytes. wanted: ascending."""
        name, _, inner = self.column.partition(".")
        if (wanted and wanted[0] <= self.at) or not self.rows_started:
            self.rows, self.at = _rows(self.parquet, wanted[0], self.parquet.metadata.num_rows, [name]), wanted[0] - 1
        found: dict[int, bytes | None] = {}
        values: dict[str, Any] = {}
        for row in wanted:
            while self.at < row:
                self.at, values = next(self.rows)
            value = values[name]
            found[row] = value.get("bytes") if inner and value else value
        return found

    @property
    def rows_started(self) -> bool:
        return self.at >= 0

    def close(self) -> None:
        self.file.close()
