"""neighbors: for every seed image, the pool images most like it (DINOv2 paper, section 3, "retrieval").

A part per block of seed images of a set: each is a task that streams the pool, part by part, past its queries, by the
index that memory and recall allow (curation/index). A run that was stopped goes on with the blocks that are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from curation import index, records
from curation.encode import unit
from curation.sets import in_pool, in_seeds
from curation.stage import PlannedStage, derived
from curation.store import Parts, join, matrix

QUERIES = 131_072  # seed images of a task


@dataclass(frozen=True, kw_only=True)
class NeighborsConfig:
    """How many neighbours are kept."""

    depth: int = 4
    """Neighbours kept per seed image, as a multiple of the set's k: room for `collisions = "next_unused"`."""
    memory_gib: float = 4.0
    """GiB that the index of a task may take: whole vectors where they fit, else codes, else one shard after the other."""
    recall: float = 0.99
    """Share of the true neighbours that an index has to find, by measurement; 1: every pool image is looked at. Where
    building an index would take longer than looking at all, all are looked at."""
    k: tuple[tuple[str, int], ...] = derived()
    """(seed set, k) of the sets that are sampled."""

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth must be at least 1, not {self.depth}")
        if not self.memory_gib > 0:
            raise ValueError(f"memory_gib must be above 0, not {self.memory_gib}")
        if not 0 < self.recall <= 1:
            raise ValueError(f"recall is a share, above 0 and up to 1, not {self.recall}")


def plan(inputs: Mapping[str, Parts], cfg: NeighborsConfig) -> Sequence[int]:
    """A part per block of QUERIES seed images of a set; one that is empty where nobody asks."""
    return range(max(1, len(_blocks(inputs, cfg))))


def retrieve(part: int, inputs: Mapping[str, Parts], cfg: NeighborsConfig) -> pa.Table:
    """records.NEIGHBORS of a block, ordered by seed_id and rank; a seed image is not its own neighbour."""
    blocks = _blocks(inputs, cfg)
    if not blocks:
        return records.NEIGHBORS.empty_table()
    name, k, start = blocks[part]
    ids, queries = _vectors(inputs, name)
    ids, queries = ids[start : start + QUERIES], queries[start : start + QUERIES]
    return _search(inputs, name, ids, queries, k * cfg.depth, cfg) if ids else records.NEIGHBORS.empty_table()


def _blocks(inputs: Mapping[str, Parts], cfg: NeighborsConfig) -> list[tuple[str, int, int]]:
    """(seed set, k, first seed image) of every block, in the order of the recipe."""
    counts = dict.fromkeys((name for name, _ in cfg.k), 0)
    for part in inputs["embeddings"].numbers if counts else ():
        held = pc.list_flatten(inputs["survivors"].kept_part(part, ["sets"])["sets"])
        for name in counts:
            counts[name] += pc.sum(pc.equal(held, records.SEED_PREFIX + name)).as_py() or 0
    return [(name, k, start) for name, k in cfg.k for start in range(0, counts[name], QUERIES)]


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


def _search(
    inputs: Mapping[str, Parts], name: str, ids: list[str], queries: index.Floats, k: int, cfg: NeighborsConfig
) -> pa.Table:
    names: dict[int, pa.Array] = {}

    def read(part: int) -> index.Floats:
        rows = _rows(inputs, part)
        rows = rows.filter(pa.array(in_pool(rows["sets"]))).filter(pc.field("usable"))
        names[part] = rows["image_id"].combine_chunks()
        return unit(matrix(rows["embedding"]))

    receipts = inputs["embeddings"].store.receipts(inputs["embeddings"].noun)
    sizes = {part: receipts[part].kept for part in inputs["embeddings"].numbers}
    limits = index.Limits(memory_gib=cfg.memory_gib, recall=cfg.recall)
    similarity, parts, rows = index.nearest(queries, sizes, read, k + 1, limits)
    hits = [
        [(found, s) for found, s in ((names[p][r].as_py(), s) for p, r, s in zip(*row, strict=True) if p >= 0) if found != own][
            :k
        ]
        for own, row in zip(ids, zip(parts.tolist(), rows.tolist(), similarity.tolist(), strict=True), strict=True)
    ]
    return _table(name, ids, hits)


def _table(name: str, ids: list[str], hits: list[list[tuple[str, float]]]) -> pa.Table:
    flat = [(own, rank, found, s) for own, row in zip(ids, hits, strict=True) for rank, (found, s) in enumerate(row, 1)]
    columns = [list(c) for c in zip(*flat, strict=True)] or [[], [], [], []]
    arrays = [[name] * len(flat), *columns]
    return pa.Table.from_arrays([pa.array(a, f.type) for a, f in zip(arrays, records.NEIGHBORS, strict=True)],
                                schema=records.NEIGHBORS)  # fmt: skip


STAGE = PlannedStage(name="neighbors", consumes=("embeddings", "survivors"), plan=plan, fn=retrieve, version=3)
