"""Parquet files with image bytes: a plain binary column, or the struct<bytes, path> of Hugging Face."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.paths import filesystem
from curation.sources.found import Found, describe, unit

USUAL = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes", "content", "data")
KEYS = ("key", "__key__", "uid", "id", "image_id", "file_name", "path")
BATCH = 64  # rows decoded at once
FRUGAL: Any = {"buffer_size": 1 << 20, "pre_buffer": False}  # or pyarrow reads the column of a row group whole
_BROKEN = (OSError, ValueError, OverflowError, ImportError, pa.ArrowException)


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


def merged(units: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The units with those that follow each other in one file joined, so that a large row group is decoded once."""
    last: dict[str, Any] | None = None
    for row in units:
        if last and row["kind"] == "parquet" and _place(row) == _place(last) and row["start"] == last["stop"]:
            last = last | {"stop": row["stop"], "images": last["images"] + row["images"]}
            continue
        if last:
            yield last
        last = row
    if last:
        yield last


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("set", "kind", "uri", "key", "modified", "error_message"))


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
        parquet = pq.ParquetFile(file, **FRUGAL)
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
            yield from _group_rows(parquet, group, first, (start, stop), columns)
        first += rows


def _group_rows(
    parquet: pq.ParquetFile, group: int, first: int, span: tuple[int, int], columns: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of one row group that lie in span; `first` is the number of its first row."""
    for batch in parquet.iter_batches(BATCH, row_groups=[group], columns=columns, use_threads=False):
        low, high = max(span[0] - first, 0), min(span[1] - first, batch.num_rows)
        if low < high:
            part = batch.slice(low, high - low)
            values = [_values(column) for column in part.columns]
            for at, row in enumerate(zip(*values, strict=True), first + low):
                yield at, dict(zip(part.schema.names, row, strict=True))
        first += batch.num_rows


def _values(column: pa.Array) -> list[Any]:
    """Python values; one that has none (text that is not UTF-8, a date out of range) as text as near as can be."""
    try:
        return column.to_pylist()
    except _BROKEN:
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except _BROKEN:
        if pa.types.is_string(scalar.type) or pa.types.is_large_string(scalar.type):
            return scalar.as_buffer().to_pybytes().decode("utf-8", "replace")
        return f"<unreadable {scalar.type}>"


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
    """Reads rows of one file and column. Rows asked for in ascending order decode no row group twice, and none in vain."""

    def __init__(self, uri: str, column: str) -> None:
        self.uri, self.column = uri, column
        fs, path = filesystem(uri)
        self.file = fs.open(path, "rb")
        self.parquet = pq.ParquetFile(self.file, **FRUGAL)
        facts = self.parquet.metadata
        self.firsts = [0, *accumulate(facts.row_group(g).num_rows for g in range(facts.num_row_groups))]
        self.group, self.at = -1, -1
        self.rows: Iterator[tuple[int, dict[str, Any]]] = iter(())

    def read(self, wanted: list[int]) -> dict[int, bytes | None]:
        """Row number -> bytes; None for a row that is not there or cannot be read. wanted: ascending."""
        found: dict[int, bytes | None] = {}
        for row in wanted:
            try:
                found[row] = self._value(row)
            except (*_BROKEN, StopIteration):
                found[row], self.group = None, -1
        return found

    def _value(self, row: int) -> bytes | None:
        group = bisect_right(self.firsts, row) - 1
        name, _, inner = self.column.partition(".")
        if not 0 <= row < self.firsts[-1]:
            return None
        if group != self.group or row <= self.at:
            self.rows = _group_rows(self.parquet, group, self.firsts[group], (row, self.firsts[group + 1]), [name])
            self.group = group
        values: dict[str, Any] = {}
        self.at = -1
        while self.at < row:
            self.at, values = next(self.rows)
        value = values[name]
        return value.get("bytes") if inner and value else value

    def close(self) -> None:
        self.file.close()
