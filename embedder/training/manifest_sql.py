"""The rows of a manifest by SQL over a run's Parquet files, on any fsspec path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from curation.paths import one_line
from embedder.training.manifest import ROWS
from embedder.training.manifest_rows import needed_columns, parquet_files

_VIEWS = ("manifest", "shards")
_MEMORY = "400MB"  # of DuckDB; the rest goes to its temporary files


def queried(sql: str, run: str, groups: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Rows of a query over the views `manifest` and `shards` of a run, in the order of their image_id.

    Raises ValueError for what cannot be asked.
    """
    try:
        yield from _rows(sql, run, groups)
    except duckdb.Error as error:
        raise ValueError(f"{sql}: {one_line(error)}") from error


def _rows(sql: str, run: str, groups: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with duckdb.connect(config={"python_enable_replacements": False, "memory_limit": _MEMORY}) as database:
        for noun in _VIEWS if run else ():
            _show(database, run, noun)
        rows = database.sql(sql.strip().rstrip(";"))
        if rows is None:
            raise ValueError(f"{sql}: gives no rows")
        columns = needed_columns(rows.columns, groups, sql)
        order = [name for name in ("image_id", "uri", "offset") if name in columns]
        chosen = rows.project(", ".join(f'"{name}"' for name in columns)).order(", ".join(f'"{name}"' for name in order))
        yield from chosen.to_arrow_reader(ROWS)


def _show(database: duckdb.DuckDBPyConnection, run: str, noun: str) -> None:
    """A view of a noun of the run. DuckDB reads wrong bytes where its threads share a file of fsspec: then there is one."""
    fs, files = parquet_files(run, noun)
    if not files:
        return
    if "file" not in fs.protocol:
        database.execute("set threads = 1")
        database.register_filesystem(fs)
        files = [fs.unstrip_protocol(path) for path in files]
    database.read_parquet(files).create_view(noun)
