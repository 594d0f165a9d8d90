"""DuckDB over a run folder: one view per noun, and the checks and reports of `sql/`, loaded by name.

Everything is read only. DuckDB sees nothing but the run folder, through a file system that refuses to open a file for
writing, so that no SQL, a COPY hidden in a WITH clause included, can change a run or look elsewhere. That file system
also gives every reading thread a position of its own: DuckDB 2.0 seeks and reads from many threads through one handle
and, with a plain fsspec file, gets wrong bytes.
"""

from __future__ import annotations

import csv
import difflib
import fnmatch
import io
import json
import os
import tempfile
import threading
import tomllib
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources
from typing import Any, Literal

import duckdb
import pyarrow as pa
from fsspec.spec import AbstractFileSystem

from curation import records
from curation.store import Store

Style = Literal["table", "csv", "json"]
DERIVED = ("verdicts", "dropped", "funnel")  # views over the nouns' views, in the order in which they are made
_ROOT = "run://run"  # what DuckDB sees instead of the run folder's own path
_READS = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
_WIDEST = 72  # characters of one cell in table style


def schema(noun: str) -> pa.Schema:
    """Columns of a noun's view: those of `records`, vectors as DuckDB shows them (lists of float32), and `status`."""
    stored = getattr(records, noun.upper(), None)
    if stored is None:
        stored = {"descriptors": records.descriptors, "embeddings": records.embeddings}[noun](1)
    fields = [pa.field(f.name, pa.list_(pa.float32())) if pa.types.is_fixed_size_list(f.type) else f for f in stored]
    return pa.schema([*fields, pa.field("status", pa.string())] if noun == "images" else fields)


def connect(run: str) -> duckdb.DuckDBPyConnection:
    """An in-memory database with a view per noun of `run` (any fsspec path) and those of DERIVED.

    A noun that has no part yet is an empty view with the right columns. Session variables: `run`, `present` (nouns
    with parts), `reference_similarity` (the recipe's, or null). Settings are locked, files outside `run` out of reach.
    Raises ValueError if `run` is no folder, its recipe is not TOML, or a part cannot be read.
    """
    store = Store(run)
    if not store.fs.isdir(store.root):
        raise ValueError(f"there is no run folder at {run}")
    present = [noun for noun in records.NOUNS if _parts(store, noun)]
    database = duckdb.connect(config={"python_enable_replacements": False, "autoinstall_known_extensions": False})
    try:
        database.register_filesystem(_RunFiles(store))
        spill = os.path.join(tempfile.gettempdir(), f"curate-query-{uuid.uuid4().hex[:12]}")
        database.execute("set temp_directory = $spill", {"spill": spill})
        database.execute("set allowed_directories = $roots", {"roots": [_ROOT]})
        database.execute("set parquet_metadata_cache = true")
        database.execute("set enable_external_access = false")
        limit = _reference_similarity(store)
        for name, value in {"run": _ROOT, "present": present, "reference_similarity": limit}.items():
            database.execute(f"set variable {name} = $value", {"value": value})
        for noun in records.NOUNS:
            if noun in present:
                database.execute(_sql("views", noun))
            else:
                database.register(noun, schema(noun).empty_table())
        for name in DERIVED:
            database.execute(_sql("views", name))
        database.execute("set lock_configuration = true")
    except duckdb.Error as error:
        database.close()
        raise ValueError(f"{run}: {_first_line(error)}") from error
    return database


def query(run: str, sql: str) -> pa.Table:
    """The rows of one reading statement (SELECT, FROM, WITH, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN, ...) over a run.

    Raises ValueError, in one line, for anything else and for what DuckDB refuses.
    """
    _only_reads(sql)
    with connect(run) as database:
        return _rows(database, sql)


def run_checks(run: str) -> dict[str, int]:
    """Every check of sql/checks and its number of offending rows; a run is sound where all are 0."""
    with connect(run) as database:
        return {name: _count(database, _sql("checks", name)) for name in check_names()}


def check(run: str, name: str) -> pa.Table:
    """The offending rows of one check. Raises ValueError for an unknown one."""
    _known("check", name, check_names())
    return query(run, _sql("checks", name))


def report(run: str, name: str) -> pa.Table:
    """The rows of one report of sql/reports. Raises ValueError for an unknown one."""
    _known("report", name, report_names())
    return query(run, _sql("reports", name))


def check_names() -> list[str]:
    return _names("checks")


def report_names() -> list[str]:
    return _names("reports")


def question(kind: Literal["views", "checks", "reports"], name: str) -> str:
    """What a view, check or report answers: the first line of its file."""
    return _sql(kind, name).splitlines()[0].removeprefix("--").strip()


def render(table: pa.Table, style: Style = "table") -> str:
    """Rows as text. table: aligned columns, long cells, vectors and bytes shortened; csv; json: a list of objects."""
    if style not in ("table", "csv", "json"):
        raise ValueError(f"unknown style {style!r}: table, csv or json")
    if style == "json":
        names = table.column_names
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        objects = [{name: _plain(value) for name, value in zip(names, row, strict=True)} for row in rows]
        return json.dumps(objects, indent=1, ensure_ascii=False) + "\n"
    rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return _csv(table.column_names, rows) if style == "csv" else _aligned(table, rows)


# --- files ---------------------------------------------------------------------------------------------------------


class _RunFiles(AbstractFileSystem):
    """The run folder as run://run, for reading only."""

    protocol = "run"
    cachable = False

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.fs, self.root = store.fs, store.root.rstrip("/")

    def _outer(self, path: str) -> str:
        names = str(self._strip_protocol(path)).strip("/").split("/")
        if names[0] != "run" or ".." in names:
            raise FileNotFoundError(path)
        return "/".join([self.root, *names[1:]])

    def _entry(self, entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, "name": "run/" + str(entry["name"]).rstrip("/")[len(self.root) :].lstrip("/")}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        entries = [self._entry(entry) for entry in self.fs.ls(self._outer(path), detail=True)]
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return self._entry(self.fs.info(self._outer(path)))

    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        """One listing for the views' own patterns, which have wildcards in the last name only."""
        folder, _, pattern = str(self._strip_protocol(path)).rpartition("/")
        if kwargs.get("detail") or any(c in folder for c in "*?[") or any(c in pattern for c in "[{") or "**" in pattern:
            return super().glob(path, maxdepth=maxdepth, **kwargs)
        try:
            names = [str(name) for name in self.ls(folder, detail=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if fnmatch.fnmatchcase(name.rsplit("/", 1)[-1], pattern))

    def modified(self, path: str) -> datetime:
        try:
            return self.fs.modified(self._outer(path))
        except NotImplementedError:
            return datetime.fromtimestamp(0, UTC)

    def open(self, path: str, mode: str = "rb", *_: Any, **__: Any) -> _SharedFile:  # pyright: ignore
        if mode != "rb":
            raise PermissionError("a run can only be read here")
        outer = self._outer(path)
        return _SharedFile(self.fs, outer, int(self.fs.size(outer)))


class _SharedFile(io.RawIOBase):
    """A file that many threads read through one handle: each has its own position and its own open file."""

    def __init__(self, fs: AbstractFileSystem, path: str, size: int) -> None:
        self.fs, self.path, self.size = fs, path, size
        self.own, self.opened, self.lock = threading.local(), list[Any](), threading.Lock()

    def _file(self) -> Any:
        if not hasattr(self.own, "file"):
            self.own.file = self.fs.open(self.path, "rb")
            with self.lock:
                self.opened.append(self.own.file)
        return self.own.file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file().seek(offset, whence)

    def tell(self) -> int:
        return self._file().tell()

    def read(self, size: int | None = -1) -> bytes:
        return self._file().read(-1 if size is None else size)

    def close(self) -> None:
        with self.lock:
            files, self.opened = self.opened, []
        for file in files:
            file.close()
        super().close()


def _parts(store: Store, noun: str) -> bool:
    try:
        names = store.fs.ls(store.path(noun), detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(fnmatch.fnmatchcase(str(name).rsplit("/", 1)[-1], "part-*.parquet") for name in names)


def _reference_similarity(store: Store) -> float | None:
    data = store.read_bytes("recipe.toml")
    try:
        recipe = tomllib.loads(data.decode()) if data else {}
    except ValueError as error:
        raise ValueError(f"{store.url}/recipe.toml: {error}") from error
    value = recipe.get("survivors", {}).get("reference_similarity")
    return None if value is None else float(value)


# --- SQL -----------------------------------------------------------------------------------------------------------


def _sql(kind: str, name: str) -> str:
    return resources.files("sql").joinpath(kind, f"{name}.sql").read_text(encoding="utf-8")


def _names(kind: str) -> list[str]:
    names = (entry.name for entry in resources.files("sql").joinpath(kind).iterdir())
    return sorted(name.removesuffix(".sql") for name in names if name.endswith(".sql"))


def _known(what: str, name: str, names: list[str]) -> None:
    if name not in names:
        close = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}"
        raise ValueError(f"unknown {what} {name!r}: {hint}")


def _only_reads(sql: str) -> None:
    """Refuse all but one reading statement.

    COPY writes from inside a WITH clause and after EXPLAIN ANALYZE too, and both count as reading by their type; it has
    to be in the statement itself, not in a text that is run later, so looking at the words is enough.
    """
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise ValueError(_first_line(error)) from error
    if len(statements) != 1:
        raise ValueError(f"one statement at a time: this is {len(statements)}")
    if statements[0].type not in _READS:
        raise ValueError(f"a run can only be read: {statements[0].type.name} is not allowed")
    starts = [start for start, _ in duckdb.tokenize(sql)] + [len(sql.encode())]
    words = (sql.encode()[a:b].strip().lower() for a, b in zip(starts, starts[1:], strict=False))
    if b"copy" in words:
        raise ValueError('a run can only be read: COPY is not allowed (write "copy" for a column of that name)')


def _rows(database: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    try:
        return database.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        raise ValueError(_first_line(error)) from error


def _count(database: duckdb.DuckDBPyConnection, sql: str) -> int:
    """Rows of a result, which is read in pieces: a check may find very many."""
    try:
        result, rows = database.execute(sql), 0
        while piece := result.fetchmany(10_000):
            rows += len(piece)
    except duckdb.Error as error:
        raise ValueError(_first_line(error)) from error
    return rows


def _first_line(error: Exception) -> str:
    """DuckDB's message in one line: the first, and its hint; of a Python error, the last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "Traceback" in lines[0]:
        return lines[-1]
    return " ".join([lines[0], *(line for line in lines[1:2] if line.startswith("Did you mean"))])


# --- text ----------------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it: bytes as hex, whole decimals as integers, NaN and infinities as null."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _csv(names: list[str], rows: list[tuple[Any, ...]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        cells = (_plain(value) for value in row)
        writer.writerow([json.dumps(c, ensure_ascii=False) if isinstance(c, list | dict) else c for c in cells])
    return out.getvalue()


def _aligned(table: pa.Table, rows: list[tuple[Any, ...]]) -> str:
    right = [pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_decimal(t) for t in table.schema.types]
    if table.column_names == ["explain_key", "explain_value"]:
        return "\n".join(str(value).rstrip() for _, value in rows) + "\n"
    cells = [[_short(name) for name in table.column_names], *([_short(value) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(right))]
    cells.insert(1, ["-" * width for width in widths])
    texts = (
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in cells
    )
    return "\n".join(texts) + "\n"


def _short(value: Any) -> str:
    """One cell: on one line, without control characters, and not wider than _WIDEST."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return f"{value[:8].hex()}... ({len(value)} bytes)" if len(value) > 8 else value.hex()
    if isinstance(value, list) and len(value) > 4 and isinstance(value[0], int | float):
        return f"[{', '.join(_short(inner) for inner in value[:3])}, ... {len(value)}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    plain = _plain(value)
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    text = "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."
