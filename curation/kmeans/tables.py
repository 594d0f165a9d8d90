"""What some rows say about the next centroids, as a table that a worker can commit. float64 comes back to the bit."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from curation.kmeans.lloyd import Partial


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
