"""Lists in columns: csv and tsv, with or without a header, and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.paths import filesystem
from curation.web import files
from curation.web.columns import LOOKED_AT, Layout, choose, is_url, required
from curation.web.rows import Row, bad, good

_FRUGAL: Any = {"buffer_size": 1 << 20, "pre_buffer": False}  # or pyarrow reads the column of a row group whole


def csv_layout(uri: str, text: str, url: str | None, caption: str | None) -> Layout:
    """The header, or column numbers where the first row holds a URL already."""
    first = text.partition("\n")[0]
    delimiter = "\t" if files.suffixes(uri)[0] == ".tsv" else max(",;\t", key=first.count)
    rows = [row for row in islice(_records(io.StringIO(text, newline="\n"), delimiter), LOOKED_AT) if row]
    bare = bool(rows) and any(map(is_url, rows[0]))
    names = [str(n) for n in range(len(rows[0]))] if bare else [name.strip() for name in rows[0]] if rows else []
    body = [row for row in rows[not bare :] if len(row) == len(names)]
    samples = {name: [row[at] for row in body] for at, name in enumerate(names)}
    found, told = choose(uri, samples, url, caption)
    if bare and told is None and len(names) == 2:
        told = next(name for name in names if name != found)
    return Layout(names=tuple(names), url=required(uri, found, names), caption=told, first=not bare, delimiter=delimiter)


def _records(text: Iterator[str], delimiter: str) -> Iterator[list[str] | None]:
    """Rows of a csv; None for one that cannot be read. A tab ends a field whatever its quotes say."""
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    reader = csv.reader(text, delimiter=delimiter, quoting=quoting)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield None
            continue
        yield [_unquoted(field) for field in row] if quoting == csv.QUOTE_NONE else row


def _unquoted(field: str) -> str:
    return field[1:-1].replace('""', '"') if len(field) > 1 and field[0] == field[-1] == '"' else field


def csv_rows(lines: Iterator[tuple[int, bytes]], where: Layout) -> Iterator[Row]:
    """The rows of a csv, numbered from 0 after its header."""
    text = (line.decode("utf-8", "surrogateescape") + "\n" for _, line in lines)
    records = (row for row in _records(text, where.delimiter) if row != [])
    for at, row in enumerate(islice(records, where.first, None)):
        if row is None:
            yield bad(at, f"a field of more than {csv.field_size_limit()} characters, or a quote that does not end")
        elif len(row) != len(where.names):
            yield bad(at, f"{len(row)} columns where there should be {len(where.names)}", where.delimiter.join(row))
        else:
            values = dict(zip(where.names, row, strict=True))
            url, caption = values.pop(where.url), values.pop(where.caption, None) if where.caption else None
            yield good(at, url, caption, values)


def parquet_layout(uri: str, url: str | None, caption: str | None) -> Layout:
    """Columns by the schema and the first rows. Raises ListError."""
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file:
        parquet = pq.ParquetFile(file, **_FRUGAL)
        names = plain_columns(parquet.schema_arrow)
        first = next(parquet.iter_batches(LOOKED_AT, columns=names, use_threads=False), None) if names else None
        samples = {name: _values(first.column(name)) if first is not None else [] for name in names}
    found, told = choose(uri, samples, url, caption)
    return Layout(names=tuple(names), url=required(uri, found, names), caption=told)


def plain_columns(schema: pa.Schema) -> list[str]:
    """The columns that are kept of a Parquet list: all but bytes."""
    return [f.name for f in schema if not (pa.types.is_binary(f.type) or pa.types.is_large_binary(f.type))]


def _values(column: pa.Array) -> list[Any]:
    """Python values; text that is not UTF-8 with replacement marks, anything else that has no Python value as null."""
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        return None


def parquet_rows(uri: str, where: Layout, start: int, stop: int) -> Iterator[Row]:
    """Rows start <= row < stop of a Parquet list, few at a time; stop 0: to the end."""
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file:
        parquet = pq.ParquetFile(file, **_FRUGAL)
        first = 0
        for group in range(parquet.metadata.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if first + rows > start and (not stop or first < stop):
                yield from _group(parquet, group, where, first, (start, stop or first + rows))
            first += rows


def _group(parquet: Any, group: int, where: Layout, first: int, span: tuple[int, int]) -> Iterator[Row]:
    """Rows of one row group that lie in span; `first` is the number of its first row."""
    for batch in parquet.iter_batches(1000, row_groups=[group], columns=list(where.names), use_threads=False):
        low, high = max(span[0] - first, 0), min(span[1] - first, batch.num_rows)
        if low < high:
            part = batch.slice(low, high - low)
            columns = dict(zip(part.schema.names, map(_values, part.columns), strict=True))
            found, told = columns.pop(where.url), columns.pop(where.caption, None) if where.caption else None
            more = zip(*columns.values(), strict=True) if columns else ((),) * len(found)
            each = zip(found, told or [None] * len(found), more, strict=True)
            for at, (url, caption, extra) in enumerate(each, first + low):
                yield good(at, url, caption, dict(zip(columns, extra, strict=True)))
        first += batch.num_rows
