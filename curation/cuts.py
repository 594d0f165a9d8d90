"""The second stage of a first level in two stages: each cluster of a sample is cut into finer ones, lot by lot.

Source: facebookresearch/ssl-data-curation, configs/4levels_web_based_images.yaml (100,000 clusters, each cut in 100). A pass
of k-means of K clusters costs rows x K; in two stages rows x (K / split + split).

Letters: R rows, D dimensions.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curation.encode import unit
from curation.kmeans.assign import assign
from curation.kmeans.lloyd import Floats, Ints, fit
from curation.kmeans.tables import level_table
from curation.store import Parts, matrix

LOT_ROWS = 262_144  # of the sample, that one task cuts; in memory


def homes(vectors: pa.ChunkedArray, centroids: Floats) -> pa.Table:
    """The cluster of every vector, and the vector, in the order of the clusters: a lot's rows lie together."""
    home_R = assign(unit(matrix(vectors)), centroids)[0] if len(vectors) else np.zeros(0, np.int64)
    order = np.argsort(home_R, kind="stable")
    return pa.table({"home": home_R[order], "vector": vectors.combine_chunks().take(pa.array(order))})


def ends(homes: Parts) -> Ints:
    """Where lots of consecutive clusters end: a cluster goes to the lot that its last row falls into."""
    sizes = _sizes(homes)
    lots = np.maximum(np.cumsum(sizes) - 1, 0) // LOT_ROWS
    return np.append(np.flatnonzero(np.diff(lots)) + 1, len(sizes)).astype(np.int64)[: len(sizes)]


def _sizes(homes: Parts) -> Ints:
    """Rows in each cluster, up to the last that has any."""
    counted = [np.bincount(table["home"].to_numpy()) for _, table in homes.tables(["home"])]
    sizes = np.zeros(max(map(len, counted), default=0), np.int64)
    for some in counted:
        sizes[: len(some)] += some
    return sizes


def cut(homes: Parts, first: int, end: int, split: int, iterations: int, seed: int, tolerance: float) -> pa.Table:
    """The finer centroids of clusters `first` to `end`, each fitted on its own rows, as a level's table."""
    home_R, x_RD = _rows(homes, first, end)
    edges = np.flatnonzero(np.diff(home_R)) + 1
    pieces = zip(np.split(home_R, edges), np.split(x_RD, edges), strict=True)
    fits = [fit(x, min(split, len(x)), iterations, seed + 1 + int(home[0]), tolerance) for home, x in pieces]
    return level_table(np.concatenate([one.centroids for one in fits]), np.concatenate([one.sizes for one in fits]))


def _rows(homes: Parts, first: int, end: int) -> tuple[Ints, Floats]:
    """Clusters and vectors of the rows of clusters `first` to `end`, cluster by cluster."""
    found_R, found_RD = list[Ints](), list[Floats]()
    for number in homes.numbers:
        home_R = homes.part(number, ["home"])["home"].to_numpy()
        start, stop = np.searchsorted(home_R, [first, end])
        if start < stop:
            found_R.append(home_R[start:stop])
            found_RD.append(unit(matrix(homes.rows(number, int(start), int(stop), ["vector"])["vector"])))
    home_R = np.concatenate(found_R)
    order = np.argsort(home_R, kind="stable")
    return home_R[order], np.concatenate(found_RD)[order]
