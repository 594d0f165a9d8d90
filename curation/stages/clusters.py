"""clusters: the concept of every image, its nearest centroid (centroids.py).

Source: DINOv2 paper, appendix A.4 (100,000 clusters on the pool). Seeds are assigned too: cluster-based retrieval
counts them per cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from curation import kmeans, records
from curation.encode import unit
from curation.kmeans.lloyd import Floats
from curation.kmeans.tables import first_level
from curation.stage import MapStage
from curation.store import matrix


def centroid_matrix(_cfg: Any, side: Mapping[str, pa.Table]) -> Floats:
    """records.CENTROIDS of images as (K, D) float32."""
    return first_level(side["centroids"])


def assign(batch: pa.Table, centroids: Floats, _cfg: Any) -> pa.Table:
    """records.embeddings to records.CLUSTERS; nulls where the pool is empty and has no clusters."""
    ids = batch["image_id"].combine_chunks()
    if len(centroids):
        labels, similarity = kmeans.assign(unit(matrix(batch["embedding"])), centroids)
        columns = [ids, pa.array(labels), pa.array(similarity)]
    else:
        columns = [ids, pa.nulls(len(ids), pa.int64()), pa.nulls(len(ids), pa.float32())]
    return pa.Table.from_arrays([*columns, *records.verdicts(batch.num_rows)], schema=records.CLUSTERS)


CLUSTERS = MapStage(
    name="clusters",
    consumes=("embeddings",),
    also=("centroids",),
    version=2,
    setup=centroid_matrix,
    fn=assign,
    batch_rows=16_384,
)
