"""The rows of a manifest, from a run folder, Parquet files, or SQL over them, on any fsspec path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as pads

from curation.paths import filesystem, one_line
from embedder.training.manifest import NEEDED, ROWS, Manifest, compact

_SQL = re.compile(r"\s*(select|with|from)\s", re.IGNORECASE)
_VIEWS = ("manifest", "shards")
_MEMORY = "400MB"  # of DuckDB; the rest goes to its temporary files


def is_sql(data: str) -> bool:
    """Whether `data` is a query and no path."""
    return bool(_SQL.match(data))


def read_manifest(data: str, run: str = "", groups: Sequence[str] = ()) -> Manifest:
    """The rows of `data`: a run folder, Parquet files (a folder of them, or a glob), or SQL over the views of a run.

    run: the folder, or the Parquet files, that SQL sees as the view `manifest` (and `shards`, if the run has them);
    image paths that are not absolute lie below it. groups: further columns of text or numbers.
    Rows keep the order of the files; those of SQL are sorted by image_id.
    Raises ValueError, in one line, for what cannot be read or has no use for a trainer.
    """
    try:
        if is_sql(data):
            return compact(_queried(data, run, groups), _root(run), groups)
        return compact(_stored(data, groups), _root(run or data), groups)
    except (OSError, pa.ArrowException, duckdb.Error) as error:
        raise ValueError(f"{data}: {one_line(error)}") from error


def _root(data: str) -> str:
    """The run folder of a path: of RUN/manifest and RUN/manifest/*.parquet, too."""
    path = data.rstrip("/")
    path = path.rpartition("/")[0] if path.endswith(".parquet") else path
    return path.removesuffix("/manifest")


def _files(data: str, noun: str = "manifest") -> tuple[Any, list[str]]:
    """The file system, and the Parquet files in the order of their names."""
    fs, path = filesystem(data)
    path = path.rstrip("/")
    if path.endswith(".parquet"):
        return fs, sorted(fs.glob(path)) if any(c in path for c in "*?[") else [path] * fs.exists(path)
    return fs, sorted(fs.glob(f"{path}/{noun}/*.parquet") or (fs.glob(f"{path}/*.parquet") if noun == "manifest" else []))


def _stored(data: str, groups: Sequence[str]) -> Iterator[pa.RecordBatch]:
    fs, files = _files(data)
    if not files:
        raise ValueError(f"there is no manifest at {data}: neither Parquet files nor a run folder with a manifest")
    coded = pads.ParquetReadOptions(dictionary_columns=["uri"])
    rows = pads.dataset(files, format=pads.ParquetFileFormat(read_options=coded), filesystem=fs)
    columns = _columns(rows.schema.names, groups, data)
    yield from rows.to_batches(columns=columns, batch_size=ROWS, batch_readahead=4, fragment_readahead=4)


def _columns(names: Sequence[str], groups: Sequence[str], data: str) -> list[str]:
    missing = [name for name in ("image_id", "uri", *groups) if name not in names]
    if missing:
        raise ValueError(f"{data} has no column {missing[0]}; it has {', '.join(names)}")
    return list(dict.fromkeys([*(name for name in NEEDED if name in names), *groups]))


def _queried(sql: str, run: str, groups: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with duckdb.connect(config={"python_enable_replacements": False, "memory_limit": _MEMORY}) as database:
        for noun in _VIEWS if run else ():
            _show(database, run, noun)
        rows = database.sql(sql.strip().rstrip(";"))
        if rows is None:
            raise ValueError(f"{sql}: gives no rows")
        columns = _columns(rows.columns, groups, sql)
        order = [name for name in ("image_id", "uri", "offset") if name in columns]
        chosen = rows.project(", ".join(f'"{name}"' for name in columns)).order(", ".join(f'"{name}"' for name in order))
        yield from chosen.to_arrow_reader(ROWS)


def _show(database: duckdb.DuckDBPyConnection, run: str, noun: str) -> None:
    """A view of a noun of the run. DuckDB reads wrong bytes where its threads share a file of fsspec: then there is one."""
    fs, files = _files(run, noun)
    if not files:
        return
    if "file" not in fs.protocol:
        database.execute("set threads = 1")
        database.register_filesystem(fs)
        files = [fs.unstrip_protocol(path) for path in files]
    database.read_parquet(files).create_view(noun)
