"""DuckDB over a run folder: one view per noun, and the checks and reports of `sql/`, loaded by name.

Everything is read only. DuckDB sees nothing but the run folder, through a file system that refuses to open a file for
writing, so that no SQL, a COPY hidden in a WITH clause included, can change a run or look elsewhere.
"""

from __future__ import annotations

import difflib
import fnmatch
import os
import tempfile
import tomllib
import uuid
from importlib import resources
from typing import Literal

import duckdb
import pyarrow as pa

from curation import copy_records, crawl_records, records
from curation.store import Store
from pipelines.run_files import RunFiles

ALL = records.NOUNS | records.OPTIONAL | crawl_records.CRAWL_NOUNS
DERIVED = ("verdicts", "dropped", "funnel", "quarantine")  # views over the nouns' views, in the order in which they are made
_ROOT = "run://run"  # what DuckDB sees instead of the run folder's own path
_READS = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


def schema(noun: str) -> pa.Schema:
    """Columns of a noun's view: those of `records`, vectors as DuckDB shows them (lists of float32), and `status`."""
    homes = (records, copy_records, crawl_records)
    stored = next((getattr(home, noun.upper()) for home in homes if hasattr(home, noun.upper())), None)
    if stored is None:
        made = {"described": records.descriptors, "descriptors": records.descriptors, "embeddings": records.embeddings}
        stored = made[noun](1)
    fields = [pa.field(f.name, pa.list_(pa.float32())) if pa.types.is_fixed_size_list(f.type) else f for f in stored]
    return pa.schema([*fields, pa.field("status", pa.string())] if noun == "images" else fields)


def connect(run: str) -> duckdb.DuckDBPyConnection:
    """An in-memory database with a view per noun of `run` (any fsspec path) and those of DERIVED.

    A noun that has no part yet is an empty view with the right columns. Session variables: `run`, `present` (nouns
    with parts), `reference_similarity`, `confirm`, `shared` (the recipe's, or null).
    Settings are locked, files outside `run` out of reach.
    Raises ValueError if `run` is no folder, its recipe is not TOML, or a part cannot be read.
    """
    store = Store(run)
    if not store.fs.isdir(store.root):
        raise ValueError(f"there is no run folder at {run}")
    present = [noun for noun in ALL if _parts(store, noun)]
    database = duckdb.connect(config={"python_enable_replacements": False, "autoinstall_known_extensions": False})
    try:
        database.register_filesystem(RunFiles(store))
        spill = os.path.join(tempfile.gettempdir(), f"curate-query-{uuid.uuid4().hex[:12]}")
        database.execute("set temp_directory = $spill", {"spill": spill})
        database.execute("set allowed_directories = $roots", {"roots": [_ROOT]})
        database.execute("set parquet_metadata_cache = true")
        database.execute("set enable_external_access = false")
        for name, value in {"run": _ROOT, "present": present, **_thresholds(store)}.items():
            database.execute(f"set variable {name} = $value", {"value": value})
        for noun in ALL:
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


def asked(run: str, name: str, values: dict[str, object]) -> pa.Table:
    """The rows of a statement of sql/verbs, with values for its parameters."""
    with connect(run) as database:
        try:
            return database.execute(_sql("verbs", name), values).to_arrow_table()
        except duckdb.Error as error:
            raise ValueError(_first_line(error)) from error


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


def _parts(store: Store, noun: str) -> bool:
    try:
        names = store.fs.ls(store.path(noun), detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(fnmatch.fnmatchcase(str(name).rsplit("/", 1)[-1], "part-*.parquet") for name in names)


def _thresholds(store: Store) -> dict[str, float | None]:
    """What the recipe names; of protected sets with thresholds of their own, the highest: a check must not cry wolf."""
    data = store.read_bytes("recipe.toml")
    try:
        recipe = tomllib.loads(data.decode()) if data else {}
    except ValueError as error:
        raise ValueError(f"{store.url}/recipe.toml: {error}") from error
    own = {key: recipe.get("survivors", {}).get(key) for key in ("reference_similarity", "confirm", "shared")}
    limits = [p["similarity"] for p in recipe.get("protect", []) if "similarity" in p]
    if own["reference_similarity"] is not None:
        own["reference_similarity"] = max([own["reference_similarity"], *limits])
    return {key: None if value is None else float(value) for key, value in own.items()}


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
