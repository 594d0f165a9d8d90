"""From the files of a source to links: lists of URLs, and the pages of WARC and WAT archives.

`is_web` tells which files hold links, `plan_web` cuts them into units, `links_of` reads one unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.crawl_records import LINKS
from curation.paths import filesystem, one_line, stamp
from curation.web import files, listing
from curation.web.archive import page_records
from curation.web.columns import ListError
from curation.web.gather import Gathered
from curation.web.pages import Page, page_links
from curation.web.tabular import plain_columns
from curation.web.wat import wat_links

SPLIT_BYTES = 1 << 24  # txt and jsonl are cut into units of about this size
SPLIT_ROWS = 100_000  # Parquet into units of this many rows
PAGE_LINKS = 20  # images expected of a page, and ...
PAGE_BYTES = 20_000  # ... compressed bytes of its record: only a guess, for the sizes of parts
_LISTS = {".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".urls"}


def is_web(path: str) -> str | None:
    """urls, warc or wat if a file holds links, else None. A Parquet file is looked into: it needs URLs and no image bytes."""
    suffix = files.suffixes(path)[0]
    if suffix in (".warc", ".wat"):
        return "wat" if suffix == ".wat" or ".wat" in _stem_suffixes(path) else "warc"
    if suffix == ".parquet":
        return "urls" if _is_list(path) else None
    return "urls" if suffix in _LISTS else None


def _stem_suffixes(path: str) -> list[str]:
    return ["." + part for part in path.lower().rpartition("/")[2].split(".")[1:]]


def _is_list(path: str) -> bool:
    try:
        fs, inner = filesystem(path)
        with fs.open(inner, "rb") as file:
            schema = pq.read_schema(file)
        structs = (f.type for f in schema if pa.types.is_struct(f.type))
        if len(plain_columns(schema)) < len(schema) or any(len(plain_columns(pa.schema(list(s)))) < len(s) for s in structs):
            return False
        return bool(listing.layout(path))
    except files.BROKEN:
        return False


def plan_web(set_name: str, uri: str, key: str, info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Units (rows of records.SOURCES) of one file that `is_web`. info: what fsspec tells of it.

    Uncompressed txt and jsonl are cut at line ends, Parquet by rows; a csv may hold newlines, so it stays whole, as do
    archives and whatever is compressed. A file that cannot be used is one unit with an error_message.
    """
    size = int(info.get("size") or 0)
    base = {"set": set_name, "kind": is_web(uri) or "urls", "uri": uri, "key": key, "start": 0, "stop": 0, "images": 1}
    base |= {"bytes": size, "modified": stamp(info), "sidecars": [], "error_message": None}
    try:
        return [base | {"start": a, "stop": b, "images": max(n, 1)} for a, b, n in _spans(str(base["kind"]), uri, size)]
    except files.BROKEN as error:
        return [base | {"error_message": one_line(error)}]


def _spans(kind: str, uri: str, size: int) -> list[tuple[int, int, int]]:
    """(start, stop, links expected) of each unit; stop 0: to the end."""
    if kind != "urls":
        return [(0, 0, size // PAGE_BYTES * PAGE_LINKS)]
    form = listing.format_of(uri)
    where = None if form == "txt" else listing.layout(uri)
    if form == "parquet":
        return _row_spans(uri)
    start = files.head(uri)
    per_line = len(start) / max(start.count(b"\n"), 1)
    if form == "csv" or files.suffixes(uri)[1] or size <= SPLIT_BYTES:
        return [(0, 0, int(size / max(per_line, 1)))] if where or start else [(0, 0, 0)]
    edges = _line_starts(uri, size)
    return [(a, b, int((b - a) / max(per_line, 1))) for a, b in zip(edges, edges[1:], strict=False)]


def _row_spans(uri: str) -> list[tuple[int, int, int]]:
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file:
        rows = pq.read_metadata(file).num_rows
    return [(a, min(a + SPLIT_ROWS, rows), min(SPLIT_ROWS, rows - a)) for a in range(0, max(rows, 1), SPLIT_ROWS)]


def _line_starts(uri: str, size: int) -> list[int]:
    """0, the first line start at or after each multiple of SPLIT_BYTES, and the size; ascending, without repeats."""
    edges = {0, size}
    for near in range(SPLIT_BYTES, size, SPLIT_BYTES):
        at = near - 1
        for chunk in files.chunks(uri, at, min(size, near + SPLIT_BYTES)):
            newline = chunk.find(b"\n")
            if newline >= 0:
                edges.add(at + newline + 1)
                break
            at += len(chunk)
    return sorted(edges)


def links_of(unit: Mapping[str, Any], url_column: str | None = None, caption_column: str | None = None) -> Iterator[pa.Table]:
    """The links of one unit as tables of LINKS, at most 10,000 rows each; whatever is damaged is a row with a reason.

    Raises ListError if a column was named and is not there.
    """
    if unit["error_message"]:
        yield lost(unit["uri"], "unreadable_list" if unit["kind"] == "urls" else "unreadable_archive", unit["error_message"])
        return
    try:
        if unit["kind"] == "urls":
            for table in listing.urls(unit["uri"], url_column, caption_column, unit["start"], unit["stop"]):
                yield _from_list(table, unit["uri"])
        else:
            yield from (_from_warc if unit["kind"] == "warc" else _from_wat)(unit["uri"])
    except ListError as error:
        if url_column or caption_column:
            raise
        yield lost(unit["uri"], "unreadable_list", one_line(error))
    except files.BROKEN as error:
        reason = "unreadable_list" if unit["kind"] == "urls" else "unreadable_archive"
        yield lost(unit["uri"], reason, one_line(error))


def _from_list(table: pa.Table, uri: str) -> pa.Table:
    columns = {name: table[name] for name in table.schema.names} | {"source": pa.repeat(uri, table.num_rows)}
    return pa.table([columns.get(f.name, pa.nulls(table.num_rows, f.type)) for f in LINKS], schema=LINKS)


def _from_warc(uri: str) -> Iterator[pa.Table]:
    """Links of the pages of a WARC; a page that is cut gives those before the cut, and a row that tells of it."""
    gathered = Gathered(uri, LINKS)
    for record in page_records(uri):
        if record.html and record.url:
            page = page_links(record.html, record.url, record.charset, record.headers)
            page.trouble = record.detail or page.trouble
            yield from gathered.add(page, record.url, record.offset, len(record.html))
        elif record.reason:
            yield from gathered.lose(record.offset, record.url, record.reason, record.detail)
    yield from gathered.tables()


def _from_wat(uri: str) -> Iterator[pa.Table]:
    gathered = Gathered(uri, LINKS)
    for record in wat_links(uri):
        if record.reason:
            yield from gathered.lose(record.offset, record.url, record.reason, record.detail)
        else:
            yield from gathered.add(record.page or Page(), record.url or "", record.offset, record.size)
    yield from gathered.tables()


def lost(uri: str, reason: str, detail: str, row: int = 0) -> pa.Table:
    """One row that says why a file or record gave no links."""
    values = {"source": uri, "row": row, "drop_reason": reason, "error_message": detail}
    return pa.Table.from_pylist([values], schema=LINKS)
