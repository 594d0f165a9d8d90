"""An inverted file, of whole vectors or of product-quantised ones, built once for each shard of a base and written.

The paper retrieves by Faiss's inverted file with product quantisation and publishes no setting (DINOv2, section 3).
Here the settings follow from two promises. Memory: whole vectors are indexed where they fit the budget, else codes of
them; where not even these fit, the base is cut into shards, an index each. Recall: curation/index/probing.py.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from curation.ahead import ahead
from curation.index.exact import Floats, gpus

GIB = 2**30
PER_LIST, ROUNDS = 32, 10  # rows a list is fitted on, and passes of k-means (Faiss's own for an inverted file)
MOST_CODED = 65_536  # rows that codes are fitted on (256 centres a piece)
FEWEST, SEED = 1024, 0  # rows that anything is fitted on; of the draw of them
GROWN = 1.5  # memory of a row's place while lists are filled, which make room ahead (1.4 measured: a million x 128)
LEAST_ROWS = 32_768  # below, every row is looked at: a pass over them costs less than fitting lists
PLACE = 2**32  # a row's number in an index is PLACE x its part + its row there


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a search may take and must find."""

    memory_gib: float
    """The index, GiB; two parts of the base and the queries come on top."""
    recall: float
    """Share of the exact hits to be found, by measurement; 1: every row is looked at."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What kind of index a base gets, and which parts go into one together."""

    kind: str
    """"flat", "ivf_flat" or "ivf_pq"."""
    shards: tuple[tuple[int, ...], ...]
    code_bytes: int = 0
    """Of a row's code (ivf_pq)."""


def shape(queries: int, sizes: Mapping[int, int], dim: int, limits: Limits) -> Shape:
    """The index for a number of queries of a base; sizes: rows of its parts (at most)."""
    n, everything = sum(sizes.values()), (tuple(sizes),)
    if limits.recall >= 1 or n < LEAST_ROWS or queries * n < 2 * _fitting(n):
        return Shape(kind="flat", shards=everything)
    room, whole = limits.memory_gib * GIB, GROWN * (dim * 4 + 8)
    if n * whole + lists_for(n) * dim * 4 <= room:
        return Shape(kind="ivf_flat", shards=everything)
    code = code_bytes(dim)
    return Shape(kind="ivf_pq", shards=_shards(sizes, room, GROWN * (code + 8), dim), code_bytes=code)


def lists_for(rows: int) -> int:
    """Lists of an inverted file of so many rows."""
    return max(1, 2 * math.isqrt(rows))


def _fitting(rows: int) -> int:
    """Products that building an inverted file takes: fitting the lists, then putting every row in one."""
    lists = lists_for(rows)
    return PER_LIST * lists * lists * ROUNDS + rows * lists


def code_bytes(dim: int) -> int:
    """A byte for four dimensions, or for as few more as divide the vector."""
    return next(m for m in range(max(1, dim // 4), 0, -1) if dim % m == 0)


def _shards(sizes: Mapping[int, int], room: float, row: float, dim: int) -> tuple[tuple[int, ...], ...]:
    """Consecutive parts, as many together as the room allows; a part is never cut."""
    shards: list[list[int]] = []
    rows = 0
    for part, size in sizes.items():
        if not shards or (rows + size) * row + lists_for(rows + size) * dim * 4 > room:
            shards.append([])
            rows = 0
        shards[-1].append(part)
        rows += size
    return tuple(tuple(shard) for shard in shards)


def build(parts: Sequence[int], read: Callable[[int], Floats], rows: int, plan: Shape) -> Any | None:
    """One index over some parts of the base, in memory; None if they hold too few rows to fit anything on.

    read(part): (N_p, D) float32 of unit length; rows: of all parts (at most).
    """
    sample = drawn(parts, read, rows)
    if len(sample) < FEWEST:
        return None
    index = _fitted(sample, lists_for(rows), plan)
    for part, vectors in ahead(read, parts):
        if len(vectors):
            index.add_with_ids(vectors, part * PLACE + np.arange(len(vectors), dtype=np.int64))
    return faiss.index_gpu_to_cpu(index) if gpus() else index


def drawn(parts: Sequence[int], read: Callable[[int], Floats], rows: int) -> Floats:
    """Rows to fit lists and codes on, drawn evenly."""
    random = np.random.default_rng(SEED)
    share = min(1.0, max(PER_LIST * lists_for(rows), MOST_CODED) / max(1, rows))
    pieces = ((vectors, random.random(len(vectors)) < share) for _, vectors in ahead(read, parts))
    return np.concatenate([vectors[taken] for vectors, taken in pieces])


def _fitted(sample: Floats, lists: int, plan: Shape) -> Any:
    """An empty index with its lists, and codes, fitted; on the GPU where Faiss has one."""
    lists, dim = max(1, min(lists, len(sample) // PER_LIST)), sample.shape[1]
    coarse = faiss.IndexFlatIP(dim)
    if plan.kind == "ivf_pq":
        index: Any = faiss.IndexIVFPQ(coarse, dim, lists, plan.code_bytes, 8, faiss.METRIC_INNER_PRODUCT)
    else:
        index = faiss.IndexIVFFlat(coarse, dim, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical, index.cp.max_points_per_centroid, index.cp.niter = True, PER_LIST, ROUNDS
    if gpus():
        index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    index.train(sample)
    return index


def write(index: Any, file: Any) -> tuple[int, str]:
    """Write an index to an open file as it goes; its bytes and their SHA-256."""
    digest, size = hashlib.sha256(), 0

    def put(data: bytes) -> int:
        nonlocal size
        digest.update(data)
        size += len(data)
        return file.write(data)

    library: Any = faiss  # of which the stubs know less than there is
    faiss.write_index(index, library.PyCallbackIOWriter(put))
    return size, digest.hexdigest()


def read(path: str) -> Any:
    """An index that was written: mapped, so that tasks of a machine share what they look at; on the GPU if there is one."""
    if gpus():
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, faiss.read_index(path))
    index: Any = faiss.read_index(path, faiss.IO_FLAG_MMAP)
    lists: Any = faiss.downcast_InvertedLists(index.invlists)
    lists.prefetch_nthread = 0  # else each list is read once more for every query
    return index
