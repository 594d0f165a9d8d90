"""Lists of URLs: txt, csv, tsv, jsonl (plain, .gz or .zst) and Parquet; streamed, so that their length does not matter.

A row that cannot be used is a row with a reason: bad_row (not UTF-8, not JSON, a wrong number of columns, too long) or
no_url. A file that ends in a damaged place gives its rows before that place, and then one row unreadable_list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from curation.paths import one_line
from curation.web import files
from curation.web.columns import LOOKED_AT, Layout, ListError, choose, required
from curation.web.rows import Row, bad, batches, good
from curation.web.tabular import csv_layout, csv_rows, parquet_layout, parquet_rows

FORMATS = {".txt": "txt", ".urls": "txt", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def urls(
    uri: str, url_column: str | None = None, caption_column: str | None = None, start: int = 0, stop: int = 0
) -> Iterator[pa.Table]:
    """The rows of a list as tables of LISTED, at most BATCH rows each.

    [start, stop): bytes of a txt or jsonl that is not compressed, cut at line starts; rows of a Parquet file; stop 0: to
    the end. Raises ListError if a column is not there or none holds URLs, OSError if the file cannot be opened.
    """
    kind = format_of(uri)
    where = None if kind == "txt" else layout(uri, url_column, caption_column)
    if where is None:
        rows = _txt(uri, start, stop)
    elif kind == "csv":
        rows = csv_rows(_lines(uri), where)
    else:
        rows = (_jsonl if kind == "jsonl" else parquet_rows)(uri, where, start, stop)
    return batches(_guarded(rows))


def format_of(uri: str) -> str:
    """txt, csv, jsonl or parquet, by the file's name; txt if that tells nothing."""
    suffix = files.suffixes(uri)[0]
    return "parquet" if suffix == ".parquet" else FORMATS.get(suffix, "txt")


def layout(uri: str, url_column: str | None = None, caption_column: str | None = None) -> Layout:
    """The columns of a csv, jsonl or Parquet list, from its first rows. Raises ListError, naming the file and columns."""
    kind = format_of(uri)
    if kind == "parquet":
        return parquet_layout(uri, url_column, caption_column)
    data = _text(uri, files.head(uri))
    if kind == "csv":
        return csv_layout(uri, data, url_column, caption_column)
    samples: dict[str, list[Any]] = {}
    for line in data.split("\n")[:LOOKED_AT]:
        for name, value in (_object(line) or {}).items():
            samples.setdefault(name, []).append(value)
    url, caption = choose(uri, samples, url_column, caption_column)
    return Layout(names=tuple(samples), url=required(uri, url, list(samples)) if samples else "url", caption=caption)


def _guarded(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows, and one that says why there are no more of them."""
    at = 0
    try:
        for one in rows:
            at = one[0]
            yield one
    except ListError:
        raise
    except files.BROKEN as error:
        yield at, None, None, None, "unreadable_list", one_line(error)


def _text(uri: str, data: bytes) -> str:
    """The first bytes of a list as text, without its mark. Raises ListError for UTF-16."""
    if data.startswith(_UTF16):
        raise ListError(f"{uri}: UTF-16; save it as UTF-8")
    return data.removeprefix(_BOM).decode("utf-8", "replace")


def _lines(uri: str, start: int = 0, stop: int = 0) -> Iterator[tuple[int, bytes]]:
    """(first byte, line) of a text file, without carriage returns and the byte order mark."""
    for at, line in files.lines(files.chunks(uri, start, stop), start):
        if at == 0 and line.startswith(_UTF16):
            raise ListError(f"{uri}: UTF-16; save it as UTF-8")
        yield at, (line.removeprefix(_BOM) if at == 0 else line).rstrip(b"\r")


def _txt(uri: str, start: int, stop: int) -> Iterator[Row]:
    for at, line in _lines(uri, start, stop):
        raw = line.strip()
        if not raw or raw.startswith(b"#"):
            continue
        if len(line) > files.MAX_LINE_BYTES:
            yield bad(at, f"a line of more than {files.MAX_LINE_BYTES} bytes")
            continue
        try:
            yield at, raw.decode(), None, None, None, None
        except UnicodeDecodeError:
            yield bad(at, "text that is not UTF-8")


def _jsonl(uri: str, where: Layout, start: int, stop: int) -> Iterator[Row]:
    for at, line in _lines(uri, start, stop):
        if not line.strip():
            continue
        if len(line) > files.MAX_LINE_BYTES:
            yield bad(at, f"a line of more than {files.MAX_LINE_BYTES} bytes")
            continue
        values = _object(line)
        if values is None:
            yield bad(at, "not a JSON object or text")
            continue
        url, caption = values.pop(where.url, None), values.pop(where.caption, None) if where.caption else None
        yield good(at, url, caption, values)


def _object(line: str | bytes) -> dict[str, Any] | None:
    """A line of jsonl: an object, or a text that is a URL itself; None if it is neither."""
    try:
        value = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, str):
        return {"url": value}
    return value if isinstance(value, dict) else None
