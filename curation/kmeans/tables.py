"""Tables of k-means: what some rows say about the next centroids, to the bit; and the tree that centroids make."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import records
from curation.kmeans.lloyd import Floats, Ints, Partial


def partial_table(part: Partial) -> pa.Table:
    """A row per cluster, then one per spare row of data: its size, or how it fits; and its vector."""
    k, spare = part.sums.shape[0], len(part.spare)
    vectors = np.concatenate([part.sums, part.spare.astype(np.float64)]).reshape(-1)
    dims = part.sums.shape[1]
    columns = {
        "cluster": pa.array(np.concatenate([np.arange(k), np.full(spare, -1)])),
        "images": pa.array(np.concatenate([part.sizes, np.zeros(spare, np.int64)])),
        "fit": pa.array(np.concatenate([np.zeros(k, np.float32), part.fits.astype(np.float32)])),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors), dims),
    }
    said = {"gain": part.gain.hex(), "moved": part.moved}
    return pa.table(columns).replace_schema_metadata({"said": json.dumps(said), "row_group": "1024"})


def partial_of(table: pa.Table) -> Partial:
    """The same, read back."""
    said = json.loads((table.schema.metadata or {})[b"said"])
    vectors = table["vector"].combine_chunks()
    values = vectors.flatten().to_numpy().reshape(len(vectors), -1)
    own = table["cluster"].to_numpy() >= 0
    return Partial(
        sums=values[own], sizes=table["images"].to_numpy()[own], gain=float.fromhex(said["gain"]), moved=said["moved"],
        spare=values[~own].astype(np.float32), fits=table["fit"].to_numpy()[~own],
    )  # fmt: skip


def level_table(c: Floats, images: Ints, number: int = 1) -> pa.Table:
    """records.CENTROIDS of one level, without parents."""
    columns = [range(len(c)), images, list(c), [number] * len(c), [None] * len(c)]
    arrays = [pa.array(column, f.type) for column, f in zip(columns, records.CENTROIDS, strict=True)]
    return pa.Table.from_arrays(arrays, schema=records.CENTROIDS)


def first_level(table: pa.Table) -> Floats:
    """Centroids (K, D) float32 of the first level."""
    first = table.filter(pc.equal(table["level"], 1))["centroid"].combine_chunks()
    dims = len(first[0]) if len(first) else 1
    return np.asarray(first.flatten(), np.float32).reshape(-1, dims) if len(first) else np.zeros((0, 1), np.float32)


def tree(centroids: pa.Table) -> tuple[list[Ints], int]:
    """Of records.CENTROIDS: the parent of every cluster, level by level, the finest first, without the last level; and how
    many clusters the finest has."""
    rows = centroids.sort_by([("level", "ascending"), ("cluster", "ascending")])
    last = pc.max(rows["level"]).as_py() or 0
    levels = [rows.filter(pc.equal(rows["level"], number))["parent"] for number in range(1, last + 1)]
    return [parent.to_numpy().astype(np.int64) for parent in levels[:-1]], len(levels[0]) if levels else 0
