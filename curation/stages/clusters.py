"""clusters: the concept of every image. `centroids` fits spherical k-means on the pool; `clusters` assigns.

Source: DINOv2 paper, appendix A.4 (100,000 clusters on the pool). Seeds are assigned too: cluster-based retrieval
counts them per cluster.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curation import kmeans, records
from curation.encode import unit
from curation.sets import Bools, in_pool, shuffled_order
from curation.stage import MapStage, WholeStage
from curation.store import Parts, join, matrix

PER_CENTROID = 64  # rows of the pool that a centroid is fitted on, at most


@dataclass(frozen=True, kw_only=True)
class ClustersConfig:
    """How finely the pool is cut into concepts."""

    k: int = 0
    """Clusters; 0: 2 x the square root of the number of pool images, at most 100,000 (the paper's)."""
    iterations: int = 20
    """Most Lloyd passes."""
    seed: int = 0
    """Of seeding and sampling."""


def fit_centroids(inputs: Mapping[str, Parts], cfg: ClustersConfig) -> Iterator[tuple[int, pa.Table]]:
    """k-means on a uniform sample of the pool's embeddings (records.CENTROIDS)."""
    pool = sum(int(_pool(inputs, part, ["image_id"])[1].sum()) for part in inputs["embeddings"].numbers)
    k = min(cfg.k or min(100_000, math.ceil(2 * math.sqrt(pool))), max(1, pool))
    share = min(1.0, k * PER_CENTROID / max(1, pool))
    sample = [_vectors(inputs, part, share, cfg.seed) for part in inputs["embeddings"].numbers]
    x = np.concatenate(sample) if sample else np.zeros((0, 1), np.float32)
    k = min(k, len(x))
    if not k:
        yield 0, records.CENTROIDS.empty_table()
        return
    fit = kmeans.fit(x, k, cfg.iterations, cfg.seed)
    columns = [range(k), fit.sizes, list(fit.centroids)]
    yield 0, pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, records.CENTROIDS, strict=True)],
                                  schema=records.CENTROIDS)  # fmt: skip


def _pool(inputs: Mapping[str, Parts], part: int, columns: list[str]) -> tuple[pa.Table, Bools]:
    """A part's kept embeddings, and which of them the pool holds."""
    rows = join(inputs["embeddings"].kept_part(part, columns), inputs["images"].kept_part(part, ["image_id", "sets"]))
    return rows, in_pool(rows["sets"])


def _vectors(inputs: Mapping[str, Parts], part: int, share: float, seed: int) -> kmeans.Floats:
    """Unit float32 vectors of a share of a part's pool images, drawn by image_id."""
    rows, pool = _pool(inputs, part, ["image_id", "embedding"])
    drawn = shuffled_order(rows["image_id"].to_pylist(), seed) <= np.uint64(share * (2**64 - 2**11))
    return unit(matrix(rows.filter(pa.array(pool & drawn))["embedding"]))


CENTROIDS = WholeStage(name="centroids", consumes=("embeddings", "images"), version=2, fn=fit_centroids)


def centroid_matrix(_cfg: ClustersConfig, side: Mapping[str, pa.Table]) -> kmeans.Floats:
    """records.CENTROIDS as (K, D) float32."""
    return np.array(side["centroids"]["centroid"].to_pylist(), np.float32)


def assign(batch: pa.Table, centroids: kmeans.Floats, _cfg: ClustersConfig) -> pa.Table:
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
    version=1,
    setup=centroid_matrix,
    fn=assign,
    batch_rows=16_384,
)
