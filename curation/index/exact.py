"""Retrieval: the nearest rows of a base that comes in parts, exactly, by Faiss.

A flat index per part, merged as the parts go by: memory follows one part plus k hits a query, and there is no knob to
get wrong. On the GPU where Faiss has one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Hits = tuple[Floats, Ints, Ints]  # (Q, k) each: similarities, part numbers, rows of the parts; missing hits have part -1


def search(queries: Floats, base: Iterable[tuple[int, Floats]], k: int) -> Hits:
    """The k rows of largest product for every query.

    queries: (Q, D); base: (part number, (N_p, D)) in order; all float32 of unit length.
    Returns similarities (Q, k) descending, part numbers and row numbers in the part; missing hits have part -1.
    Of equal similarities the earlier part's come first; within a part Faiss has its own order, the same every time.
    """
    best, parts, rows = nothing(len(queries), k)
    for part, vectors in base:
        if not len(vectors):
            continue
        hits, where = largest(queries, vectors, min(k, len(vectors)))
        best, parts, rows = merge(k, best, parts, rows, hits, np.full_like(where, part), where)
    return best, parts, rows


def nothing(queries: int, k: int) -> Hits:
    """As `search` returns it where nothing was found."""
    missing = np.full((queries, k), -1, np.int64)
    return np.full((queries, k), -np.inf, np.float32), missing, missing.copy()


def largest(queries: Floats, vectors: Floats, k: int) -> tuple[Floats, Ints]:
    """Products (Q, k), descending, and rows (Q, k) of the k <= N rows of largest product, by every row."""
    if gpus():
        found = faiss.knn_gpu(faiss.StandardGpuResources(), queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    else:
        found = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    return found[0], found[1].astype(np.int64)


def gpus() -> int:
    """GPUs that this build of Faiss can use."""
    return int(getattr(faiss, "get_num_gpus", int)())


def merge(k: int, best: Floats, parts: Ints, rows: Ints, *new: NDArray[Any]) -> Hits:
    """The k best of two lists of hits per query; of equal ones the first list's go first. new: as best, parts, rows."""
    similarity = np.concatenate([best, new[0]], axis=1)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    merged = [similarity, np.concatenate([parts, new[1]], axis=1), np.concatenate([rows, new[2]], axis=1)]
    taken = [np.take_along_axis(values, order, axis=1) for values in merged]
    return taken[0].astype(np.float32), taken[1].astype(np.int64), taken[2].astype(np.int64)
