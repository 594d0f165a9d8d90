"""What a worker does with one part, or with a whole noun. No Ray: a test or a GPU check calls this directly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from curation import records
from curation.journal import Journal, Place
from curation.shards import TarSink
from curation.sources import read_bytes
from curation.stage import JournalStage, MapStage, PlannedStage, WholeStage, check
from curation.store import Receipt, Store, join, keep


def run_part(store: Store, stage: MapStage, cfg: Any, tool: Any, part: int, made_by: str) -> Receipt:
    """Read a part, work through it batch by batch, commit the result."""
    started = time.monotonic()
    rows, size = received(store, stage, part), max(stage.batch_rows, getattr(tool, "batch_rows", 0))
    if stage.tar is None:
        tables = [_batch(store, stage, cfg, tool, batch) for batch in batches(rows, size)]
        return store.write_part(stage.name, part, pa.concat_tables(tables), made_by, time.monotonic() - started)
    with TarSink(store, stage.tar.format(part=part)) as sink:
        tables = [_pour(_batch(store, stage, cfg, tool, batch), sink) for batch in batches(rows, size)]
        sink.commit()
    return store.write_part(stage.name, part, pa.concat_tables(tables), made_by, time.monotonic() - started)


def run_journal(store: Store, stage: JournalStage, tool: Any, part: int, made_by: str) -> Receipt:
    """Do what is missing of a part, row by row, then commit it."""
    started = time.monotonic()
    place = Place.of(store, stage.name, stage.tar, part)
    rows = store.part(stage.consumes[0], part)
    with Journal(place, made_by) as journal:
        done = store.receipt(stage.name, part)
        if done and done.fingerprint == made_by:  # by a worker that outlived its run, while this one waited
            journal.forget()
            return done
        stage.fn(rows, journal.open(), tool)
        journal.finish()
        receipt = store.write_part(stage.name, part, journal.table(stage.schema), made_by, time.monotonic() - started)
        journal.forget()
    return receipt


def received(store: Store, stage: MapStage, part: int) -> pa.Table:
    """The kept rows of the first noun a stage consumes, joined with the columns of the others."""
    rows = keep(store.part(stage.consumes[0], part))
    if stage.consumes[0] != "sources":
        rows = rows.drop_columns([f.name for f in records.VERDICT if f.name in rows.column_names])
    for noun in stage.consumes[1:]:
        rows = join(rows, store.part(noun, part))
    return rows


def batches(rows: pa.Table, size: int) -> Iterator[pa.Table]:
    """Slices of `size` rows; one empty slice if there are no rows, so that an empty part has its schema too."""
    return (rows.slice(start, size) for start in range(0, max(1, rows.num_rows), size))


def _batch(store: Store, stage: MapStage, cfg: Any, tool: Any, batch: pa.Table) -> pa.Table:
    if stage.needs_bytes:
        batch = batch.append_column("bytes", pa.array(read_bytes(batch, store.url), pa.large_binary()))
    return check(stage, batch, stage.fn(batch, tool, cfg))


def _pour(table: pa.Table, sink: TarSink) -> pa.Table:
    """Move the `members` column of a batch into the tar, and note where each row's first member is."""
    rows = table.to_pylist()
    for row in rows:
        at = [sink.add(member["name"], member["data"]) for member in row.pop("members")]
        if at:
            row |= {"offset": at[0]} | ({"uri": sink.name} if "uri" in row else {})
    return pa.Table.from_pylist(rows, schema=table.drop_columns(["members"]).schema)


def run_whole(store: Store, stage: WholeStage, cfg: Any, made_by: str) -> list[Receipt]:
    """Run a whole stage and commit its parts as they come; parts of an earlier result go last."""
    started = time.monotonic()
    inputs = {noun: store.parts(noun) for noun in stage.consumes}
    receipts: dict[int, Receipt] = {}
    for part, table in stage.fn(inputs, cfg):
        receipts[part] = store.write_part(stage.name, part, table, made_by, time.monotonic() - started)
        started = time.monotonic()
    store.trim(stage.name, set(receipts))
    return list(receipts.values())


def run_planned(store: Store, stage: PlannedStage, cfg: Any, part: int, made_by: str) -> Receipt:
    """Make one part of a planned stage and commit it."""
    started = time.monotonic()
    table = stage.fn(part, {noun: store.parts(noun) for noun in stage.consumes}, cfg)
    return store.write_part(stage.name, part, table, made_by, time.monotonic() - started)
