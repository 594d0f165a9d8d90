"""A part that is written row by row, in any order, and survives a kill at the row: for work that must not be done twice.

Two files that only grow: the tar of the rows' members, and the rows themselves, one JSON line each, written after their
members. A reader believes complete lines only and cuts the tar behind the last one. A lock that dies with its process
keeps two writers apart. When every row is there, the tar gets its end mark and name, and the lines become a Parquet part.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from curation.shards import BLOCK, header
from curation.store import Store

SYNC = 5.0  # seconds between two flushes to disk: what a power cut can cost
LIVE = 1.0  # seconds between two notes for onlookers
Members = Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class Place:
    """Where a part's journal and tar are. Local folders only: object stores cannot append."""

    name: str  # of the tar, below the run folder
    rows: Path
    open_tar: Path
    tar: Path
    live: Path

    @staticmethod
    def of(store: Store, noun: str, tar: str, part: int) -> Place:
        if "file" not in store.fs.protocol:
            raise ValueError(f"{store.url}: {noun} are written row by row, which needs a local folder")
        name, hidden = tar.format(part=part), Path(store.root, noun, f".part-{part:05d}")
        final = Path(store.root, name)
        open_tar = final.with_name(f".{final.name}.open")
        return Place(name, hidden.with_suffix(".rows"), open_tar, final, hidden.with_suffix(".live"))


class Journal:
    """The rows of one part as they are done. Use as a context manager: `open`, `add` each row, `finish`, `table`, `forget`."""

    def __init__(self, place: Place, made_by: str) -> None:
        self.place, self.made_by = place, made_by
        self.counts: Counter[str] = Counter()
        self.synced = self.noted = time.monotonic()

    def __enter__(self) -> Journal:
        """Wait for the part: it belongs to this process then. Nothing is touched before `open`."""
        for path in (self.place.rows, self.place.open_tar):
            path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = _locked(self.place.rows)
        self.tar: IO[bytes] | None = None
        return self

    def open(self) -> Journal:
        """Find out what is done."""
        if self.place.tar.exists() and not self.place.open_tar.exists():
            os.replace(self.place.tar, self.place.open_tar)  # killed between the tar's name and the part's receipt
        self.tar = open(self.place.open_tar, "ab+")  # noqa: SIM115 - closed in __exit__
        self._recover(self.tar)
        return self

    def _recover(self, tar: IO[bytes]) -> None:
        """Cut what is incomplete: a half-written line, members without a line, lines whose members were lost."""
        head, size = _head(self.made_by), tar.seek(0, os.SEEK_END)
        with open(self.place.rows, "rb") as file:
            known = file.readline() == head
        length, end = len(head) if known else 0, 0
        self.done = set[int]()
        for line, row in _lines(self.place.rows) if known else ():
            fields = row["fields"]
            if fields["tar_end"] > size:
                break
            length, end = length + len(line), fields["tar_end"]
            self.done.add(row["row"])
            self.counts[fields.get("drop_reason") or ""] += 1
        self.rows.truncate(length)
        tar.truncate(end)
        if not known:
            _write(self.rows.fileno(), head)
        self.size = end

    def add(self, row: int, fields: Mapping[str, Any], members: Members = ()) -> None:
        """Row number `row` is done: its values, and the files that go into the tar; the first one's place is noted."""
        block, first = b"", {}
        for name, data in members:
            head = header(name, len(data))
            where = {"member": name, "offset": self.size + len(head), "length": len(data)}
            first = first or {"uri": self.place.name, **where}
            block += head + data + bytes(-len(data) % BLOCK)
            self.size += len(head) + len(data) + -len(data) % BLOCK
        if block:
            _write(self._tar, block)
        line = _line(row, {**fields, **first, "tar_end": self.size})
        _write(self.rows.fileno(), line)
        self.done.add(row)
        self.counts[fields.get("drop_reason") or ""] += 1
        self._note()

    def _note(self) -> None:
        now = time.monotonic()
        if now - self.noted > LIVE:
            self.noted = now
            temporary = self.place.live.with_suffix(".tmp")
            temporary.write_text(json.dumps(self.counts))
            os.replace(temporary, self.place.live)
        if now - self.synced > SYNC:
            self.synced = now
            os.fsync(self._tar)
            os.fsync(self.rows.fileno())

    def table(self, schema: pa.Schema) -> pa.Table:
        """Every row, in the order of their numbers. `uri` is the tar's path below the run folder."""
        found = sorted(((row["row"], row["fields"]) for _, row in _lines(self.place.rows)), key=lambda one: one[0])
        return pa.Table.from_pylist([fields for _, fields in found], schema=schema)

    def finish(self) -> None:
        """Give the tar its end mark and its name. The lines stay until `forget`, so that a kill in between loses nothing."""
        _write(self._tar, bytes(2 * BLOCK))
        os.fsync(self._tar)
        os.replace(self.place.open_tar, self.place.tar)

    def forget(self) -> None:
        """The part has its receipt: the lines are no longer needed."""
        self.place.rows.unlink(missing_ok=True)
        self.place.live.unlink(missing_ok=True)

    @property
    def _tar(self) -> int:
        if self.tar is None:
            raise ValueError("the journal has not been opened")
        return self.tar.fileno()

    def __exit__(self, *_: object) -> None:
        if self.tar:
            self.tar.close()
        self.rows.close()


def reopen(place: Place, made_by: str, finished: pa.Table | None, again: frozenset[str]) -> int:
    """Make the rows whose drop_reason is in `again` undone; returns how many. `finished`: the part, if it is whole.

    finished: has the columns drop_reason and tar_end. A writer that outlived its run is waited for.
    """
    if finished is None and not place.rows.exists():
        return 0
    with _locked(place.rows) as file:
        if finished is not None:
            lines = [(n, _present(row)) for n, row in enumerate(finished.to_pylist())]
        else:
            file.seek(0)
            known = file.readline() == _head(made_by)
            lines = [(row["row"], row["fields"]) for _, row in _lines(place.rows)] if known else []
        kept = [(n, fields) for n, fields in lines if fields.get("drop_reason") not in again]
        if len(kept) < len(lines):
            kept.sort(key=lambda one: one[1]["tar_end"])
            temporary = place.rows.with_suffix(".tmp")
            temporary.write_bytes(_head(made_by) + b"".join(_line(n, fields) for n, fields in kept))
            os.replace(temporary, place.rows)
        elif finished is not None:
            place.rows.unlink()  # it was made by the lock alone
    return len(lines) - len(kept)


def _present(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _head(made_by: str) -> bytes:
    """The first line: what the rows were made by. Those of another input are not believed."""
    return json.dumps({"made_by": made_by}).encode() + b"\n"


def _line(row: int, fields: Mapping[str, Any]) -> bytes:
    return json.dumps({"row": row, "fields": dict(fields)}, separators=(",", ":")).encode() + b"\n"


def _locked(path: Path) -> IO[bytes]:
    """The file, held by this process alone; waits for a writer that outlived its run, and for none that has unlinked it."""
    while True:
        file = open(path, "ab+")  # noqa: SIM115 - the journal closes it
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists() and os.fstat(file.fileno()).st_ino == path.stat().st_ino:
            return file
        file.close()


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Complete lines behind the first and what they say, up to one that is neither."""
    with open(path, "rb") as file:
        file.readline()
        for line in file:
            try:
                row = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                row = None
            if row is None:
                return
            yield line, row


def _write(file: int, data: bytes) -> None:
    """All of `data`, at the file's end."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
