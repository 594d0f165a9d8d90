"""Who asks, and who can be found: seed images and the pool's, as retrieval sees them, part by part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import records
from curation.encode import unit
from curation.index import Floats
from curation.sets import in_pool, in_seeds
from curation.store import Parts, join, matrix

Counts = Mapping[int, int]  # part of embeddings -> images
Inputs = Mapping[str, Parts]


def counts(inputs: Inputs, seed_sets: Iterable[str]) -> tuple[dict[str, dict[int, int]], dict[int, int]]:
    """Images by part, at most: those of each seed set, where it has any, and those that can be found."""
    asking: dict[str, dict[int, int]] = {name: {} for name in seed_sets}
    findable: dict[int, int] = {}
    for part in inputs["embeddings"].numbers:
        rows = inputs["survivors"].kept_part(part, ["sets", "usable"])
        findable[part] = pc.sum(rows.filter(pa.array(in_pool(rows["sets"])))["usable"]).as_py() or 0
        held = pc.list_flatten(rows["sets"])
        for name, of_set in asking.items():
            if found := pc.sum(pc.equal(held, records.SEED_PREFIX + name)).as_py():
                of_set[part] = found
    return asking, findable


def seeds(inputs: Inputs, seed_set: str, parts: Iterable[int]) -> tuple[pa.Array, Floats]:
    """Ids and unit vectors of the kept images of a seed set in some parts, by id."""
    rows = pa.concat_tables(_seeds(inputs, seed_set, part) for part in parts).sort_by("image_id")
    return rows["image_id"].combine_chunks(), unit(matrix(rows["embedding"]))


def _seeds(inputs: Inputs, seed_set: str, part: int) -> pa.Table:
    rows = _with_facts(inputs, part, ["image_id", "embedding"])
    return rows.filter(pa.array(in_seeds(rows["sets"], {seed_set}))).select(["image_id", "embedding"])


def some_seeds(inputs: Inputs, seed_set: str, of_set: Counts, most: int) -> Floats:
    """Unit vectors of at most so many of a seed set's images, from all over it."""
    total, start, vectors = sum(of_set.values()), 0, list[Floats]()
    wanted = np.unique(np.linspace(0, total - 1, min(most, total), dtype=np.int64))
    for part, count in of_set.items():
        own = wanted[(wanted >= start) & (wanted < start + count)] - start
        start += count
        if len(own):
            found = seeds(inputs, seed_set, [part])[1]
            vectors.append(found[own[own < len(found)]])
    return np.concatenate(vectors)


def pool_vectors(inputs: Inputs, part: int) -> Floats:
    """(N, D) unit vectors of the images of a part that can be found."""
    return unit(matrix(_pool(inputs, part, ["image_id", "embedding"])["embedding"]))


def pool_ids(inputs: Inputs, part: int) -> pa.Array:
    """Their ids, in the same order."""
    return _pool(inputs, part, ["image_id"])["image_id"].combine_chunks()


def _pool(inputs: Inputs, part: int, columns: Sequence[str]) -> pa.Table:
    rows = _with_facts(inputs, part, columns)
    return rows.filter(pa.array(in_pool(rows["sets"]))).filter(pc.field("usable"))


def _with_facts(inputs: Inputs, part: int, columns: Sequence[str]) -> pa.Table:
    """Columns of a part's kept images, and their sets and usable."""
    facts = inputs["survivors"].kept_part(part, ["image_id", "sets", "usable"])
    return join(inputs["embeddings"].kept_part(part, list(columns)), facts)
