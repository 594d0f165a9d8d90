"""neighbors: for every seed image, the pool images most like it (DINOv2 paper, section 3, "retrieval")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from curation import index, records
from curation.encode import unit
from curation.sets import in_pool, in_seeds
from curation.stage import WholeStage, derived
from curation.store import Parts, join, matrix

QUERIES = 65_536  # seed images searched for at once


@dataclass(frozen=True, kw_only=True)
class NeighborsConfig:
    """How many neighbours are kept."""

    depth: int = 4
    """Neighbours kept per seed image, as a multiple of the set's k: room for `collisions = "next_unused"`."""
    k: tuple[tuple[str, int], ...] = derived()
    """(seed set, k) of the sets that are sampled."""


def retrieve(inputs: Mapping[str, Parts], cfg: NeighborsConfig) -> Iterator[tuple[int, pa.Table]]:
    """records.NEIGHBORS, ordered by seed set, seed_id and rank; a seed image is not its own neighbour."""
    part = 0
    for name, k in cfg.k:
        ids, queries = _vectors(inputs, name)
        for start in range(0, len(ids), QUERIES):
            some = slice(start, start + QUERIES)
            yield part, _search(inputs, name, ids[some], queries[some], k * cfg.depth)
            part += 1
    if not part:
        yield 0, records.NEIGHBORS.empty_table()


def _vectors(inputs: Mapping[str, Parts], seed_set: str) -> tuple[list[str], index.Floats]:
    """Ids and unit vectors of the kept images of a seed set, by id."""
    tables = (_rows(inputs, part) for part in inputs["embeddings"].numbers)
    seeds = pa.concat_tables(t.filter(pa.array(in_seeds(t["sets"], {seed_set}))) for t in tables)
    rows = seeds.sort_by("image_id")
    return rows["image_id"].to_pylist(), unit(matrix(rows["embedding"]))


def _rows(inputs: Mapping[str, Parts], part: int) -> pa.Table:
    """image_id, embedding, sets and usable of a part's kept images."""
    facts = inputs["survivors"].kept_part(part, ["image_id", "sets", "usable"])
    return join(inputs["embeddings"].kept_part(part, ["image_id", "embedding"]), facts)


def _search(inputs: Mapping[str, Parts], name: str, ids: list[str], queries: index.Floats, k: int) -> pa.Table:
    names: dict[int, list[str]] = {}

    def base() -> Iterator[tuple[int, index.Floats]]:
        for part in inputs["embeddings"].numbers:
            rows = _rows(inputs, part)
            rows = rows.filter(pa.array(in_pool(rows["sets"]))).filter(pc.field("usable"))
            names[part] = rows["image_id"].to_pylist()
            yield part, unit(matrix(rows["embedding"]))

    similarity, parts, rows = index.search(queries, base(), k + 1)
    hits = [
        [(names[p][r], s) for p, r, s in zip(*row, strict=True) if p >= 0 and names[p][r] != own][:k]
        for own, row in zip(ids, zip(parts.tolist(), rows.tolist(), similarity.tolist(), strict=True), strict=True)
    ]
    return _table(name, ids, hits)


def _table(name: str, ids: list[str], hits: list[list[tuple[str, float]]]) -> pa.Table:
    flat = [(own, rank, found, s) for own, row in zip(ids, hits, strict=True) for rank, (found, s) in enumerate(row, 1)]
    columns = [list(c) for c in zip(*flat, strict=True)] or [[], [], [], []]
    arrays = [[name] * len(flat), *columns]
    return pa.Table.from_arrays([pa.array(a, f.type) for a, f in zip(arrays, records.NEIGHBORS, strict=True)],
                                schema=records.NEIGHBORS)  # fmt: skip


STAGE = WholeStage(name="neighbors", consumes=("embeddings", "survivors"), version=1, fn=retrieve)
