"""The groups that edges form: connected components.

Source of the method: DINOv2 paper, appendix A.3 (connected components by disjoint sets).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ints = NDArray[np.int64]


def components(n: int, a: Ints, b: Ints) -> Ints:
    """Connected components of `n` nodes under undirected edges (a_i, b_i): (n,) labels, the smallest node of each."""
    edges = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(n, n))
    _, labels = connected_components(edges, directed=False)
    smallest = np.full(n, n, np.int64)
    np.minimum.at(smallest, labels, np.arange(n))
    return smallest[labels]


def ends(edges: pa.Table) -> pa.Array:
    """The images that have an edge."""
    return pc.unique(pa.chunked_array([*edges["a"].chunks, *edges["b"].chunks], pa.string()))
