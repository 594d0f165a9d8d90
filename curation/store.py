"""A run folder: Parquet parts per noun, written so that a kill at any instant leaves whole parts or nothing.

Layout, on any fsspec path: RUN/<noun>/part-00000.parquet and, after it, .part-00000.done: a JSON receipt with the
fingerprint of what made the part and the digest of what is in it. A part counts only if its receipt says so. Readers of
datasets pass over names that begin with a dot, so a noun's folder opens as it is.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
import uuid
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROW_GROUP = 16_384  # rows; vectors read and skip well at this size (measured, with float16 lists)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a `.done` file says."""

    fingerprint: str  # of stage version + config + weights + inputs
    digest: str  # SHA-256 of the part file
    rows: int
    kept: int
    seconds: float = 0.0
    reasons: Mapping[str, int] = field(default_factory=dict[str, int])


def fingerprint(*parts: object) -> str:
    """A short stable hash of values that print as JSON."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Store:
    """One run folder. Cheap to make and to pickle; every method opens what it needs."""

    def __init__(self, root: str) -> None:
        self.fs, self.root = fsspec.core.url_to_fs(str(root))
        self.url = str(root)

    def path(self, *names: str) -> str:
        return "/".join([self.root.rstrip("/"), *names])

    def write_bytes(self, data: bytes, *names: str) -> None:
        """Write a file whole or not at all."""
        with self.writing(*names) as file:
            file.write(data)

    @contextmanager
    def writing(self, *names: str) -> Generator[Any]:
        """A file to write that is there whole or not at all: temporary name, flush to disk, rename."""
        target = self.path(*names)
        temporary = f"{target}.tmp-{uuid.uuid4().hex[:8]}"
        self.fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        try:
            file = self.fs.open(temporary, "wb")
            yield file
            self.publish(file, temporary, target)
        except BaseException:
            self.discard(temporary)
            raise

    @contextmanager
    def local(self, *names: str) -> Generator[str]:
        """The path of a file of the run on this machine: its own, or that of a copy for as long as it is needed."""
        if "file" in self.fs.protocol:
            yield self.path(*names)
            return
        with tempfile.TemporaryDirectory(prefix="curate-copy-") as folder:
            self.fs.get_file(self.path(*names), copy := os.path.join(folder, "copy"))
            yield copy

    def publish(self, file: Any, temporary: str, target: str) -> None:
        """Close a file written under a temporary name and give it its own, after its bytes are on disk."""
        with file:
            file.flush()
            if "file" in self.fs.protocol:
                os.fsync(file.fileno())
        self._rename(temporary, target)

    def _rename(self, temporary: str, target: str) -> None:
        if "file" in self.fs.protocol:
            os.replace(temporary, target)
        else:
            self.fs.mv(temporary, target)

    def discard(self, path: str) -> None:
        if self.fs.exists(path):
            self.fs.rm(path)

    def discard_folder(self, *names: str) -> None:
        """Remove a folder of scratch and all in it, if it is there."""
        if self.fs.exists(self.path(*names)):
            self.fs.rm(self.path(*names), recursive=True)

    def read_bytes(self, *names: str) -> bytes | None:
        """The file's content, or None if there is none."""
        try:
            return self.fs.cat_file(self.path(*names))
        except FileNotFoundError:
            return None

    def write_part(self, noun: str, part: int, table: pa.Table, made_by: str, seconds: float = 0.0) -> Receipt:
        """Commit one part: the Parquet file, then its receipt."""
        data = encode(table)
        receipt = Receipt(
            fingerprint=made_by,
            digest=hashlib.sha256(data).hexdigest(),
            rows=table.num_rows,
            seconds=round(seconds, 3),
            **_tally(table),
        )
        self.retract(noun, part)
        self.write_bytes(data, noun, f"part-{part:05d}.parquet")
        self.write_bytes(json.dumps(asdict(receipt), indent=1).encode(), noun, f".part-{part:05d}.done")
        return receipt

    def retract(self, noun: str, part: int) -> None:
        """Take a part's receipt away: an earlier one must not vouch for what is about to be written."""
        self.discard(self.path(noun, f".part-{part:05d}.done"))

    def receipt(self, noun: str, part: int) -> Receipt | None:
        return self.receipts(noun, [part]).get(part)

    def receipts(self, noun: str, parts: list[int] | None = None) -> dict[int, Receipt]:
        """Receipts by part number, in order; those of `parts`, or all there are."""
        numbers = self._numbers(noun, ".done") if parts is None else parts
        found = {part: self.read_bytes(noun, f".part-{part:05d}.done") for part in sorted(numbers)}
        return {part: Receipt(**json.loads(data)) for part, data in found.items() if data}

    def _numbers(self, noun: str, suffix: str) -> list[int]:
        try:
            names = [str(n).rsplit("/", 1)[-1] for n in self.fs.ls(self.path(noun), detail=False)]
        except FileNotFoundError:
            return []
        return [int(n[6 : -len(suffix)]) for n in names if n.startswith(".part-") and n.endswith(suffix)]

    def trim(self, noun: str, parts: set[int]) -> None:
        """Remove what is not among `parts`: those of an earlier plan, and temporary files of killed writers."""
        if not self.fs.exists(self.path(noun)):
            return
        paths = self.fs.ls(self.path(noun), detail=False)
        for path in sorted(paths, key=lambda p: not str(p).endswith(".done")):  # a receipt goes before its part
            name = str(path).rsplit("/", 1)[-1]
            numbered = re.match(r"(?:\.?part-)?(\d{5,})[._]", name)
            if ".tmp-" in name or (numbered and int(numbered[1]) not in parts):
                self.fs.rm(path)

    def part(self, noun: str, number: int, columns: list[str] | None = None) -> pa.Table:
        """One finished part, or some of its columns."""
        with self.fs.open(self.path(noun, f"part-{number:05d}.parquet"), "rb") as file:
            return pq.ParquetFile(file).read(columns=columns, use_threads=False)

    def rows(self, noun: str, number: int, start: int, stop: int, columns: list[str]) -> pa.Table:
        """Rows `start` to `stop` of a finished part; only the row groups that hold them are read."""
        with self.fs.open(self.path(noun, f"part-{number:05d}.parquet"), "rb") as file:
            opened = pq.ParquetFile(file)
            ends = np.cumsum([opened.metadata.row_group(n).num_rows for n in range(opened.num_row_groups)])
            first, last = np.searchsorted(ends, [start, stop - 1], side="right")
            held = opened.read_row_groups(range(int(first), int(last) + 1), columns, use_threads=False)
        return held.slice(start - (int(ends[first - 1]) if first else 0), stop - start)

    def schema(self, noun: str, number: int) -> pa.Schema:
        """The columns of a finished part."""
        with self.fs.open(self.path(noun, f"part-{number:05d}.parquet"), "rb") as file:
            return pq.read_schema(file)

    def parts(self, noun: str) -> Parts:
        return Parts(self, noun, list(self.receipts(noun)))


class Parts:
    """All finished parts of a noun, read one at a time."""

    def __init__(self, store: Store, noun: str, numbers: list[int]) -> None:
        self.store, self.noun, self.numbers = store, noun, numbers

    def part(self, number: int, columns: list[str] | None = None) -> pa.Table:
        return self.store.part(self.noun, number, columns)

    def rows(self, number: int, start: int, stop: int, columns: list[str]) -> pa.Table:
        return self.store.rows(self.noun, number, start, stop, columns)

    def kept_part(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """A part without its dropped rows; `columns` need not name the verdict's."""
        rows = keep(self.part(number, None if columns is None else [*columns, "drop_reason"]))
        return rows if columns is None else rows.select(columns)

    def tables(self, columns: list[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """(part number, table), in order; memory follows the largest part."""
        for number in self.numbers:
            yield number, self.part(number, columns)

    def kept(self, columns: list[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """The same, without dropped rows and without the verdict column."""
        for number in self.numbers:
            yield number, self.kept_part(number, columns)

    def whole(self, columns: list[str] | None = None) -> pa.Table:
        """Everything at once: for small nouns only."""
        return pa.concat_tables([table for _, table in self.tables(columns)])


def keep(table: pa.Table) -> pa.Table:
    """Rows whose `drop_reason` is null; all rows where there is no such column."""
    return table.filter(pc.is_null(table["drop_reason"])) if "drop_reason" in table.column_names else table


def join(rows: pa.Table, other: pa.Table) -> pa.Table:
    """`rows` with the columns of `other` that it lacks, met by image_id; ValueError if one is missing."""
    other = keep(other)
    found = pc.index_in(rows["image_id"], other["image_id"].combine_chunks())
    if found.null_count:
        raise ValueError(f"{found.null_count} of {rows.num_rows} images have no row to join")
    taken = other.take(found)
    for name in other.column_names:
        if name not in rows.column_names:
            rows = rows.append_column(taken.schema.field(name), taken[name])
    return rows


def matrix(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A fixed-size-list column as (N, D); a copy only if it has several chunks."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    dim = column.type.list_size
    blocks = [chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim) for chunk in chunks]
    return blocks[0] if len(blocks) == 1 else np.concatenate([np.empty((0, dim), np.float16), *blocks])


def vector_array(values: np.ndarray, dtype: pa.DataType) -> pa.Array:
    """(N, D) float array as a fixed-size-list array of `dtype`."""
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float16).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type=dtype)


def encode(table: pa.Table) -> bytes:
    """The table as Parquet bytes; equal tables give equal bytes. Its metadata may say how many rows a row group has."""
    buffer, rows = io.BytesIO(), int((table.schema.metadata or {}).get(b"row_group", ROW_GROUP))
    plain: Any = [f.name for f in table.schema if not pa.types.is_nested(f.type)]
    pq.write_table(
        table.combine_chunks(), buffer, compression="zstd", compression_level=1, use_dictionary=plain, row_group_size=rows
    )
    return buffer.getvalue()


def _tally(table: pa.Table) -> dict[str, Any]:
    if "drop_reason" not in table.column_names:
        return {"kept": table.num_rows}
    counts = pc.value_counts(pc.drop_null(table["drop_reason"])).to_pylist()
    reasons = {c["values"]: c["counts"] for c in sorted(counts, key=lambda c: str(c["values"]))}
    return {"kept": table.num_rows - sum(reasons.values()), "reasons": reasons}
