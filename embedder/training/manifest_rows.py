"""The rows of a manifest, from a run folder, Parquet files, or SQL over them, on any fsspec path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from curation.paths import filesystem, one_line
from embedder.training.manifest import NEEDED, ROWS, Manifest, compact

_SQL = re.compile(r"\s*(select|with|from)\s", re.IGNORECASE)


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
            from embedder.training.manifest_sql import queried  # DuckDB, which files do without

            return compact(queried(data, run, groups), _root(run), groups)
        return compact(_stored(data, groups), _root(run or data), groups)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{data}: {one_line(error)}") from error


def _root(data: str) -> str:
    """The run folder of a path: of RUN/manifest and RUN/manifest/*.parquet, too."""
    path = data.rstrip("/")
    path = path.rpartition("/")[0] if path.endswith(".parquet") else path
    return path.removesuffix("/manifest")


def parquet_files(data: str, noun: str = "manifest") -> tuple[Any, list[str]]:
    """The file system, and the Parquet files in the order of their names."""
    fs, path = filesystem(data)
    path = path.rstrip("/")
    if path.endswith(".parquet"):
        return fs, sorted(fs.glob(path)) if any(c in path for c in "*?[") else [path] * fs.exists(path)
    return fs, sorted(fs.glob(f"{path}/{noun}/*.parquet") or (fs.glob(f"{path}/*.parquet") if noun == "manifest" else []))


def _stored(data: str, groups: Sequence[str]) -> Iterator[pa.RecordBatch]:
    fs, files = parquet_files(data)
    if not files:
        raise ValueError(f"there is no manifest at {data}: neither Parquet files nor a run folder with a manifest")
    coded = pads.ParquetReadOptions(dictionary_columns=["uri"])
    rows = pads.dataset(files, format=pads.ParquetFileFormat(read_options=coded), filesystem=fs)
    columns = needed_columns(rows.schema.names, groups, data)
    yield from rows.to_batches(columns=columns, batch_size=ROWS, batch_readahead=4, fragment_readahead=4)


def needed_columns(names: Sequence[str], groups: Sequence[str], data: str) -> list[str]:
    """Those to read of columns with these names. Raises ValueError if one is missing."""
    missing = [name for name in ("image_id", "uri", *groups) if name not in names]
    if missing:
        raise ValueError(f"{data} has no column {missing[0]}; it has {', '.join(names)}")
    return list(dict.fromkeys([*(name for name in NEEDED if name in names), *groups]))
