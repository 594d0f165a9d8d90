"""Where images come from: directories, WebDataset tars, Parquet files, WARC archives, globs; on any fsspec path.

`plan` lists the input units of a source, `read_units` reads them, `read_bytes` finds single images again.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from curation.paths import filesystem, full_uri, one_line, stamp
from curation.sources import directory, parquet, tar, warc
from curation.sources.found import MAX_BYTES, Found, SourceError, unit

__all__ = ["MAX_BYTES", "Found", "SourceError", "listed", "plan", "read_bytes", "read_units"]

_WARC = dict.fromkeys(warc.SUFFIXES, ("warc", warc.plan))
_CONTAINERS = {".tar": ("tar", tar.plan), ".parquet": ("parquet", parquet.plan)} | _WARC
_PACKED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz", ".zip", ".7z", ".rar")
_READERS = {"tar": tar.read, "parquet": parquet.read, "warc": warc.read}
SPLIT = 250  # images: containers are split no finer


def plan(source: str, set_name: str) -> list[dict[str, Any]]:
    """The units (rows of records.SOURCES) of a source, sorted by path. Raises SourceError, naming the path."""
    units = _plan_paths(_expand(source), set_name)
    if not units:
        raise SourceError(f"nothing found in {source}")
    return units


def _expand(source: str) -> list[str]:
    """{000..009} and globs written out."""
    braces = re.search(r"\{(\d+)\.\.(\d+)\}", source)
    if braces:
        low, high, width = int(braces[1]), int(braces[2]), len(braces[1])
        each = (source[: braces.start()] + str(n).zfill(width) + source[braces.end() :] for n in range(low, high + 1))
        return [path for one in each for path in _expand(one)]
    if any(c in source for c in "*?["):
        fs, pattern = filesystem(source)
        if not fs.exists(pattern):
            return [full_uri(fs, path) for path in sorted(fs.glob(pattern))]
    return [source]


def _plan_paths(paths: list[str], set_name: str) -> list[dict[str, Any]]:
    """Directories one by one; the files beside each other that a pattern named together, so that sidecars find their image."""
    units: list[dict[str, Any]] = []
    for folder, run in groupby(map(_look, paths), key=lambda one: "" if one[2]["type"] == "directory" else _folder(one[1])):
        given = list(run)
        if folder:
            units += _plan_files(set_name, given[0][0], folder, {path: info for _, path, info in given})
        else:
            units += [u for fs, path, _ in given for u in _plan_directory(set_name, fs, path)]
    return units


def listed(source: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(uri, path below the source, what the file system tells) of every file of a source, by path. Raises SourceError."""
    out: list[tuple[str, str, dict[str, Any]]] = []
    for fs, path, info in map(_look, _expand(source)):
        found = directory.files(fs, path)[0] if info["type"] == "directory" else {path: info}
        root = path if info["type"] == "directory" else _folder(path)
        out += [(full_uri(fs, one), one[len(root) :].strip("/"), facts) for one, facts in sorted(found.items())]
    return out


def _look(source: str) -> tuple[Any, str, dict[str, Any]]:
    try:
        fs, path = filesystem(source)
        return fs, path, fs.info(path)
    except FileNotFoundError:
        raise SourceError(f"no such file or directory: {source}") from None
    except (OSError, ValueError, ImportError) as error:
        raise SourceError(f"cannot read {source}: {one_line(error)}") from error


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _plan_directory(set_name: str, fs: Any, path: str) -> list[dict[str, Any]]:
    """The files of a folder; the folder of a crawl stands for the images it has fetched."""
    path = f"{path.rstrip('/')}/images" if fs.exists(f"{path.rstrip('/')}/crawl.toml") else path
    found, failed = directory.files(fs, path)
    lost = [unit(set_name, "file", full_uri(fs, p), p, error_message=why) for p, why in failed]
    return [*_plan_files(set_name, fs, path, found), *lost]


def _plan_files(set_name: str, fs: Any, root: str, found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    units: list[dict[str, Any]] = []
    loose: dict[str, dict[str, Any]] = {}
    for path, info in found.items():
        suffix = next((s for s in warc.SUFFIXES if path.lower().endswith(s)), PurePosixPath(path).suffix.lower())
        if suffix in _CONTAINERS:
            units += _plan_container(set_name, full_uri(fs, path), path[len(root) :].strip("/"), info, suffix)
        elif path.lower().endswith(_PACKED):
            why = f"a {suffix} archive has to be unpacked, or written as a plain .tar"
            units.append(unit(set_name, "file", full_uri(fs, path), path[len(root) :].strip("/"), error_message=why))
        else:
            loose[path] = info
    return [*directory.plan(set_name, fs, root, loose), *units]


def _plan_container(set_name: str, uri: str, key: str, info: dict[str, Any], suffix: str) -> list[dict[str, Any]]:
    kind, planner = _CONTAINERS[suffix]
    try:
        return planner(set_name, uri, key, info["size"], stamp(info), SPLIT)
    except (OSError, ValueError, pa.ArrowException) as error:
        facts = {"bytes": info["size"], "modified": stamp(info), "error_message": one_line(error)}
        return [unit(set_name, kind, uri, key, **facts)]


def read_units(units: pa.Table) -> Iterator[Found]:
    """Every file and member of the units, in order; one image in memory at a time."""
    for row in parquet.merged(units.to_pylist()):
        if row["error_message"]:
            yield Found(set=row["set"], key=row["key"], uri=row["uri"], reason=_reason(row), detail=row["error_message"])
        elif row["kind"] == "file":
            yield directory.read(row)
        else:
            yield from _read_container(row)


def _reason(row: dict[str, Any]) -> str:
    if "no column of image bytes" in row["error_message"]:
        return "no_image_column"
    if "unpacked" in row["error_message"]:
        return "unsupported_archive"
    return "unreadable_file" if row["kind"] == "file" else "unreadable_archive"


def _read_container(row: dict[str, Any]) -> Iterator[Found]:
    try:
        yield from _READERS[row["kind"]](row)
    except (OSError, ValueError, ImportError, pa.ArrowException) as error:
        yield Found(set=row["set"], key=row["key"], uri=row["uri"], reason="unreadable_archive", detail=one_line(error))


_cursors: dict[tuple[str, str], parquet.Cursor] = {}


def read_bytes(refs: pa.Table, root: str = "") -> list[bytes | None]:
    """The encoded bytes of images by reference (records.BYTES_REF); None where they cannot be had.

    root: the run folder, below which a uri lies that is neither absolute nor has a protocol.
    """
    out: list[bytes | None] = [None] * refs.num_rows
    by_file: dict[tuple[str, str | None], list[tuple[int, int, int]]] = defaultdict(list)
    for at, row in enumerate(refs.select(["uri", "member", "offset", "length"]).to_pylist()):
        if row["uri"] is None:
            continue
        packed = row["member"] == warc.MEMBER and row["uri"].lower().endswith(warc.SUFFIXES)
        apart = packed or (row["member"] and row["uri"].lower().endswith(".parquet"))
        uri = f"{root}/{row['uri']}" if _below(row["uri"]) else row["uri"]
        by_file[uri, row["member"] if apart else None].append((row["offset"] or 0, row["length"] or 0, at))
    for (uri, column), spans in by_file.items():
        try:
            for at, data in _spans(uri, column, spans):
                out[at] = data
        except (OSError, ValueError, pa.ArrowException):
            continue
    return out


def _below(uri: str) -> bool:
    return not uri.startswith("/") and "://" not in uri and "::" not in uri


def _spans(uri: str, member: str | None, spans: list[tuple[int, int, int]]) -> Iterator[tuple[int, bytes | None]]:
    if member is None:
        return _ranges(uri, spans)
    return _parquet_rows(uri, member, spans) if uri.lower().endswith(".parquet") else warc.ranges(uri, spans)


def _ranges(uri: str, spans: list[tuple[int, int, int]]) -> Iterator[tuple[int, bytes | None]]:
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file:
        for offset, length, at in sorted(spans):
            file.seek(offset)
            data = file.read(length)
            yield at, data if len(data) == length else None


def _parquet_rows(uri: str, column: str, spans: list[tuple[int, int, int]]) -> Iterator[tuple[int, bytes | None]]:
    cursor = _cursors.get((uri, column))
    if cursor is None:
        for old in _cursors.values():
            old.close()
        _cursors.clear()
        cursor = _cursors[uri, column] = parquet.Cursor(uri, column)
    rows = cursor.read(sorted({offset for offset, _, _ in spans}))
    return ((at, rows[offset]) for offset, _, at in spans)
