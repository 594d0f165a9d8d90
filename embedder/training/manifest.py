"""A manifest as a trainer holds it: where each image's bytes are, and what it weighs, in columns of numbers.

The columns lie in unlinked temporary files that are mapped into memory: ten million rows, or a thousand million, take as
much memory as is being looked at. Files are named in a table of their own, so a tar's name is kept once.

Letters: R rows, F files.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

ROWS = 1 << 16  # rows read at once
KEY_BYTES = 16
NEEDED = ("image_id", "uri", "member", "offset", "length", "weight")
_APART = r"(?i)\.(parquet|warc|warc\.gz)$"  # containers in which `member` says how to find the bytes


class Ref(NamedTuple):
    """Where an image's encoded bytes are (records.BYTES_REF)."""

    uri: str
    member: str | None
    offset: int
    length: int | None


class Column:
    """Numbers written to an unlinked temporary file, then mapped."""

    def __init__(self, kind: Any) -> None:
        self.file = tempfile.TemporaryFile(prefix="manifest-")  # noqa: SIM115 - lives as long as the column
        self.kind, self.count = np.dtype(kind), 0

    def add(self, values: NDArray[Any]) -> None:
        self.file.write(np.ascontiguousarray(values, self.kind).data)
        self.count += len(values)

    def mapped(self) -> NDArray[Any]:
        self.file.flush()
        if not self.count:
            return np.empty(0, self.kind)
        return np.memmap(self.file, self.kind, "r", shape=(self.count,)).view(np.ndarray)  # a memmap is slow to take from


@dataclass(frozen=True)
class Manifest:
    """R rows. weights_R: None where all are 1. groups: the column asked for, as codes into `names`; -1 is null."""

    keys_R: NDArray[np.void]
    files_R: NDArray[np.int32]
    offsets_R: NDArray[np.int64]
    lengths_R: NDArray[np.int64]
    weights_R: NDArray[np.float32] | None
    groups: dict[str, tuple[NDArray[np.int32], list[str]]]
    ends_F: NDArray[np.int64]
    names: NDArray[np.uint8]
    root: str
    digest: str

    def __len__(self) -> int:
        return len(self.keys_R)

    def keys(self, row_B: NDArray[np.int64]) -> list[str]:
        """image_id of rows."""
        text = self.keys_R[row_B].tobytes().hex()
        return [text[at : at + 2 * KEY_BYTES] for at in range(0, len(text), 2 * KEY_BYTES)]

    def ref(self, row: int) -> Ref:
        """Where the row's bytes are; a path below the run folder is made whole."""
        file = int(self.files_R[row])
        start = int(self.ends_F[file - 1]) if file else 0
        uri, _, member = self.names[start : int(self.ends_F[file])].tobytes().decode().partition("\0")
        below = not uri.startswith("/") and "://" not in uri and "::" not in uri
        length = int(self.lengths_R[row])
        whole = f"{self.root}/{uri}" if below and self.root else uri
        return Ref(whole, member or None, int(self.offsets_R[row]), None if length < 0 else length)


def compact(batches: Iterator[pa.RecordBatch], root: str, groups: Sequence[str] = ()) -> Manifest:
    """The rows of record batches with the columns NEEDED (a missing `weight` is 1) and `groups`.

    Raises ValueError, naming column and value, for rows that no trainer can use, and if there are none.
    """
    sink = _Sink(groups)
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS):
            sink.add(batch.slice(start, ROWS))
    return sink.manifest(root)


class _Sink:
    """Columns under way."""

    def __init__(self, groups: Sequence[str]) -> None:
        self.keys, self.files, self.names = Column(f"V{KEY_BYTES}"), Column(np.int32), Column(np.uint8)
        self.offsets, self.lengths, self.ends = Column(np.int64), Column(np.int64), Column(np.int64)
        self.weights, self.groups = Column(np.float32), {name: Column(np.int32) for name in groups}
        self.group_codes: dict[str, dict[str, int]] = {name: {} for name in groups}
        self.file_codes: dict[str, int] = {}
        self.hashes = {name: hashlib.sha256() for name in ("image_id", "weight", *groups)}
        self.equal = True

    def add(self, batch: pa.RecordBatch) -> None:
        keys = _keys(batch.column("image_id"))
        weights = _weights(batch)
        self.keys.add(keys)
        self.files.add(self._files(batch))
        self.offsets.add(_numbers(batch, "offset", 0))
        self.lengths.add(_numbers(batch, "length", -1))
        self.weights.add(weights)
        self.equal &= bool((weights == 1).all())
        self.hashes["image_id"].update(keys.data)
        self.hashes["weight"].update(np.ascontiguousarray(weights).data)
        for name, column in self.groups.items():
            codes = self._codes(batch.column(name), name)
            column.add(codes)
            self.hashes[name].update(codes.data)

    def _files(self, batch: pa.RecordBatch) -> NDArray[np.int32]:
        """Numbers of the files; a name that was met long ago may get a second one."""
        found = _coded(batch.column("uri"))
        if found.null_count:
            raise ValueError(f"manifest: image {batch.column('image_id')[found.is_null().index(True).as_py()]} has no uri")
        apart = pc.match_substring_regex(found.dictionary, _APART)
        if "member" in batch.schema.names and pc.any(apart).as_py():
            uris, member = found.dictionary_decode(), _text(batch.column("member")).fill_null("")
            member = pc.if_else(apart.take(found.indices), member, "")
            found = pc.binary_join_element_wise(uris, member, "\0").dictionary_encode()
        if len(self.file_codes) > ROWS:
            self.file_codes.clear()
        codes = np.empty(len(found.dictionary), np.int32)
        for at, name in enumerate(found.dictionary.to_pylist()):
            code = self.file_codes.get(name)
            codes[at] = self._new_file(name) if code is None else code
        return codes[found.indices.to_numpy()]

    def _new_file(self, name: str) -> int:
        self.names.add(np.frombuffer(name.encode(), np.uint8))
        self.ends.add(np.array([self.names.count]))
        self.file_codes[name] = self.ends.count - 1
        return self.ends.count - 1

    def _codes(self, column: pa.Array, name: str) -> NDArray[np.int32]:
        found, known = _coded(column), self.group_codes[name]
        values = [known.setdefault(value, len(known)) for value in found.dictionary.to_pylist()]
        codes = np.array([*values, -1], np.int32)
        return codes[found.indices.fill_null(len(values)).to_numpy()]

    def manifest(self, root: str) -> Manifest:
        if not self.keys.count:
            raise ValueError("the manifest has no rows: nothing to train on")
        groups = {name: (column.mapped(), list(self.group_codes[name])) for name, column in self.groups.items()}
        weights = None if self.equal else self.weights.mapped()
        columns = (self.keys, self.files, self.offsets, self.lengths)
        facts = {name: one.hexdigest() for name, one in self.hashes.items()} | {"names": self.group_codes}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return Manifest(*(column.mapped() for column in columns), weights, groups, self.ends.mapped(),
                        self.names.mapped(), root, digest)  # fmt: skip


def _text(column: pa.Array) -> pa.Array:
    column = column.cast(pa.string()) if column.type != pa.string() else column
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _coded(column: pa.Array) -> pa.DictionaryArray:
    """Text as codes into a dictionary, which it may be already."""
    return column if pa.types.is_dictionary(column.type) else _text(column).dictionary_encode()


def _keys(column: pa.Array) -> NDArray[np.void]:
    """(R,) 16-byte keys of 32 hex characters."""
    ids = _text(column)
    if not ids.null_count and pc.all(pc.equal(pc.binary_length(ids), 2 * KEY_BYTES)).as_py():
        start, text = ids.offset, ids.buffers()[2]
        first = int(np.frombuffer(ids.buffers()[1], np.int32)[start]) if len(ids) else 0
        with suppress(binascii.Error):
            keys = binascii.unhexlify(memoryview(text)[first : first + 2 * KEY_BYTES * len(ids)]) if len(ids) else b""
            return np.frombuffer(keys, f"V{KEY_BYTES}")
    bad = next(one for one in ids.to_pylist() if one is None or not re.fullmatch("[0-9a-fA-F]{32}", one))
    raise ValueError(f"manifest: image_id has 32 hex characters, not {bad!r}")


def _weights(batch: pa.RecordBatch) -> NDArray[np.float32]:
    if "weight" not in batch.schema.names:
        return np.ones(batch.num_rows, np.float32)
    weights = batch.column("weight").cast(pa.float32()).fill_null(1.0).to_numpy(zero_copy_only=False)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        bad = int((~(np.isfinite(weights) & (weights >= 0))).argmax())
        raise ValueError(f"manifest: weight of image {batch.column('image_id')[bad]} is {weights[bad]}")
    return weights


def _numbers(batch: pa.RecordBatch, name: str, missing: int) -> NDArray[np.int64]:
    if name not in batch.schema.names:
        return np.full(batch.num_rows, missing, np.int64)
    return batch.column(name).cast(pa.int64()).fill_null(missing).to_numpy(zero_copy_only=False)
