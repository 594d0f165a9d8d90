"""neighbors: for every seed image, the pool images most like it (DINOv2 paper, section 3, "retrieval").

`indexes` is what is looked into: an inverted file for each shard of the pool, built once, and how it is searched for each
seed set. The file, .part-SHARD.faiss, lies beside the shard's part, and tasks map it. Where to look at all pool images
costs less, or nothing else reaches the recall, the row says "flat". `neighbors` has a part per block of seed images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import index, records, retrieval
from curation.ahead import ahead
from curation.stage import PlannedStage, derived
from curation.store import Parts

QUERIES = 131_072  # seed images of a task, but for those of one part more


@dataclass(frozen=True, kw_only=True)
class NeighborsConfig:
    """How many neighbours are kept."""

    depth: int = 4
    """Neighbours kept per seed image, as a multiple of the set's k: room for `collisions = "next_unused"`."""
    memory_gib: float = 4.0
    """GiB that an index may take: whole vectors where they fit, else codes, else one shard after the other."""
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


def plan_shards(inputs: Mapping[str, Parts], cfg: NeighborsConfig) -> Sequence[int]:
    """A part per shard of the pool."""
    return range(max(1, len(_asked(inputs, cfg)[1].shards)))


def _asked(inputs: Mapping[str, Parts], cfg: NeighborsConfig) -> tuple[dict[str, dict[int, int]], index.Shape]:
    """Seed images by set and part, where there are any; and the kind of index, and shards, for so many."""
    asking, findable = retrieval.counts(inputs, (name for name, _ in cfg.k))
    asking = {name: of_set for name, of_set in asking.items() if of_set}
    if not asking:
        return {}, index.Shape(kind="flat", shards=())
    embeddings = inputs["embeddings"]
    dim = embeddings.store.schema("embeddings", embeddings.numbers[0]).field("embedding").type.list_size
    queries = sum(sum(of_set.values()) for of_set in asking.values())
    limits = index.Limits(memory_gib=cfg.memory_gib, recall=cfg.recall)
    return asking, index.shape(queries, findable, dim, limits)


def build(shard: int, inputs: Mapping[str, Parts], cfg: NeighborsConfig) -> pa.Table:
    """records.INDEXES of a shard, whose file is written first."""
    store, name = inputs["embeddings"].store, index_file(shard)
    store.retract("indexes", shard)
    store.discard(store.path("indexes", name))
    asking, shape = _asked(inputs, cfg)
    if not asking:
        return records.INDEXES.empty_table()
    parts = shape.shards[shard]
    rows = sum(len(retrieval.pool_ids(inputs, part)) for part in parts)
    made = None if shape.kind == "flat" else index.build(parts, partial(retrieval.pool_vectors, inputs), rows, shape)
    how = _settings(made, parts, inputs, asking, cfg) if made else {}
    file: dict[str, Any] = {"kind": shape.kind, "code_bytes": shape.code_bytes or None}
    if made and any(how.values()):
        with store.writing("indexes", name) as opened:
            size, digest = index.write(made, opened)
        file |= {"lists": made.nlist, "bytes": size, "sha256": digest}
    facts: dict[str, Any] = {"shard": shard, "parts": parts, "rows": rows}
    return pa.Table.from_pylist([facts | _way(each, how.get(each), file) for each in asking], schema=records.INDEXES)


def index_file(shard: int) -> str:
    """Its name begins with a dot: readers of the noun's folder pass over it."""
    return f".part-{shard:05d}.faiss"


def _way(seed_set: str, how: index.Setting | None, file: dict[str, Any]) -> dict[str, Any]:
    """How a set's neighbours are looked for in a shard."""
    if how is None:
        return {"seed_set": seed_set, "kind": "flat"}
    return file | {"seed_set": seed_set, "probes": how.probes, "candidates": how.wider, "recall": how.recall}


def _settings(
    made: Any, parts: Sequence[int], inputs: Mapping[str, Parts], asking: Mapping[str, Mapping[int, int]], cfg: NeighborsConfig
) -> dict[str, index.Setting | None]:
    """How an index reaches the recall for each seed set, measured on some of its images; None where it does not."""
    asked = [retrieval.some_seeds(inputs, name, of_set, index.ASKED) for name, of_set in asking.items()]
    depth = {name: k * cfg.depth + 1 for name, k in cfg.k}
    base = ahead(partial(retrieval.pool_vectors, inputs), parts)
    _, found, rows = index.search(np.concatenate(asked), base, max(depth[name] for name in asking))
    how, start = dict[str, index.Setting | None](), 0
    for name, queries in zip(asking, asked, strict=True):
        own = (slice(start, start + len(queries)), slice(depth[name]))
        how[name] = index.setting(made, queries, (found[own], rows[own]), cfg.recall)
        start += len(queries)
    return how


INDEXES = PlannedStage(name="indexes", consumes=("embeddings", "survivors"), plan=plan_shards, fn=build, version=1)


def plan(inputs: Mapping[str, Parts], cfg: NeighborsConfig) -> Sequence[int]:
    """A part per block of seed images of a set; one that is empty where nobody asks."""
    return range(max(1, len(_blocks(inputs, cfg))))


def _blocks(inputs: Mapping[str, Parts], cfg: NeighborsConfig) -> list[tuple[str, list[int]]]:
    """(seed set, parts of embeddings) of every block: consecutive parts, until they hold QUERIES of its images."""
    blocks = list[tuple[str, list[int]]]()
    for name, of_set in retrieval.counts(inputs, (name for name, _ in cfg.k))[0].items():
        room = 0
        for part, count in of_set.items():
            if room <= 0:
                blocks.append((name, []))
                room = QUERIES
            blocks[-1][1].append(part)
            room -= count
    return blocks


def retrieve(block: int, inputs: Mapping[str, Parts], cfg: NeighborsConfig) -> pa.Table:
    """records.NEIGHBORS of a block, ordered by seed_id and rank; a seed image is not its own neighbour."""
    blocks = _blocks(inputs, cfg)
    if not blocks:
        return records.NEIGHBORS.empty_table()
    name, parts = blocks[block]
    ids, queries = retrieval.seeds(inputs, name, parts)
    k = dict(cfg.k)[name] * cfg.depth
    found = index.nothing(len(ids), k + 1)
    ways = inputs["indexes"].whole().filter(pc.field("seed_set") == name).sort_by("shard")
    for way in ways.to_pylist() if len(ids) else ():
        found = index.merge(k + 1, *found, *_look(way, queries, k + 1, inputs))
    return _table(name, ids, k, found, inputs)


def _look(way: dict[str, Any], queries: index.Floats, k: int, inputs: Mapping[str, Parts]) -> index.Hits:
    """The k nearest in a shard, as its row of `indexes` says they are looked for."""
    read = partial(retrieval.pool_vectors, inputs)
    if way["kind"] == "flat":
        return index.search(queries, ahead(read, way["parts"]), k)
    how = index.Setting(probes=way["probes"], wider=way["candidates"], recall=way["recall"])
    with inputs["indexes"].store.local("indexes", index_file(way["shard"])) as path:
        return index.look(index.read(path), queries, k, how, read)


def _table(name: str, ids: pa.Array, k: int, found: index.Hits, inputs: Mapping[str, Parts]) -> pa.Table:
    """Hits (Q, k + 1), by part and row, as records.NEIGHBORS; what is one too many goes."""
    similarity, parts, rows = found
    query, place = np.nonzero(parts >= 0)
    hits, own = _names(parts[query, place], rows[query, place], inputs), ids.take(pa.array(query))
    other = pc.not_equal(hits, own).to_numpy(zero_copy_only=False)
    query, place = query[other], place[other]
    rank = 1 + np.arange(len(query)) - np.searchsorted(query, query)
    columns = [pa.array([name] * len(query), pa.string()), own.filter(other), pa.array(rank, pa.int32())]
    columns += [hits.filter(other), pa.array(similarity[query, place])]
    return pa.Table.from_arrays(columns, schema=records.NEIGHBORS).filter(pa.array(rank <= k))


def _names(parts: index.Ints, rows: index.Ints, inputs: Mapping[str, Parts]) -> pa.Array:
    """Ids of pool images by part and row."""
    met, which = np.unique(parts, return_inverse=True)
    ids = [retrieval.pool_ids(inputs, part) for part in met.tolist()]
    starts = np.cumsum([0, *map(len, ids)])
    return pa.concat_arrays([pa.array([], pa.string()), *ids]).take(pa.array(starts[which] + rows))


STAGE = PlannedStage(name="neighbors", consumes=("embeddings", "survivors", "indexes"), plan=plan, fn=retrieve, version=4)
