"""Retrieval from an inverted file, of whole vectors or of product-quantised ones, within a memory budget.

The paper retrieves by Faiss's inverted file with product quantisation and publishes no setting (DINOv2, section 3).
Here the settings follow from two promises. Memory: whole vectors are indexed where they fit the budget, else codes of
them; where not even these fit, the base is cut into shards, one index at a time, and the hits are merged. Recall: some
of the queries are answered exactly too, and lists are probed until the share of those hits that are found reaches the
target; a shard that cannot reach it is searched exactly. Hits found by codes are put in order by their exact products.

Letters: Q queries, D dimensions, C candidates per query.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from curation.index.exact import Floats, Ints, gpus, merge, search

GIB = 2**30
PER_LIST, ROUNDS = 32, 10  # rows a list is fitted on, and passes of k-means (Faiss's own for an inverted file)
MOST_CODED = 65_536  # rows that codes are fitted on (256 centres a piece)
FEWEST, SEED = 1024, 0  # rows that anything is fitted on; of the draw of them
LEAST_ROWS = 32_768  # below, every row is looked at: a pass over them costs less than fitting lists
ASKED = 256  # queries answered exactly to measure recall
WIDER = (4, 16, 64)  # candidates by code for every hit that is wanted
PAIRS = 65_536  # (query, candidate) pairs whose exact products are taken at once


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a search may take and must find."""

    memory_gib: float
    """The index, GiB; one part of the base and the queries come on top."""
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
    n = sum(sizes.values())
    if limits.recall >= 1 or n < LEAST_ROWS or queries * n < 2 * _fitting(n):
        return Shape(kind="flat", shards=tuple((part,) for part in sizes))
    room, whole = limits.memory_gib * GIB, dim * 4 + 8
    if n * whole + lists_for(n) * dim * 4 <= room:
        return Shape(kind="ivf_flat", shards=(tuple(sizes),))
    code = code_bytes(dim)
    return Shape(kind="ivf_pq", shards=_shards(sizes, room, code + 8, dim), code_bytes=code)


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


def _shards(sizes: Mapping[int, int], room: float, row: int, dim: int) -> tuple[tuple[int, ...], ...]:
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


def nearest(
    queries: Floats, sizes: Mapping[int, int], read: Callable[[int], Floats], k: int, limits: Limits
) -> tuple[Floats, Ints, Ints]:
    """The k rows of largest product for every query, as `exact.search` returns them.

    queries: (Q, D); sizes: part number -> its rows at most, in order; read(part): (N_p, D); float32, of unit length.
    """
    plan = shape(len(queries), sizes, queries.shape[1], limits)
    if plan.kind == "flat":
        return search(queries, ((part, read(part)) for part in sizes), k)
    found = np.full((len(queries), k), -np.inf, np.float32)
    parts, rows = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -1, np.int64)
    for shard in plan.shards:
        size = sum(sizes[part] for part in shard)
        sample = drawn(shard, read, size)
        if len(sample) < FEWEST:
            hits = search(queries, ((part, read(part)) for part in shard), k)
        else:
            hits = Shard(shard, read, sample, lists_for(size), plan).search(queries, k, limits.recall)
        found, parts, rows = merge(k, found, parts, rows, *hits)
    return found, parts, rows


def drawn(parts: Sequence[int], read: Callable[[int], Floats], rows: int) -> Floats:
    """Rows to fit lists and codes on, drawn evenly."""
    random = np.random.default_rng(SEED)
    share = min(1.0, max(PER_LIST * lists_for(rows), MOST_CODED) / max(1, rows))
    pieces = ((vectors, random.random(len(vectors)) < share) for vectors in map(read, parts))
    return np.concatenate([vectors[taken] for vectors, taken in pieces])


class Shard:
    """One index over some parts of the base."""

    def __init__(self, parts: Sequence[int], read: Callable[[int], Floats], sample: Floats, lists: int, plan: Shape) -> None:
        self.parts, self.read, self.coded = parts, read, plan.kind == "ivf_pq"
        self.index, self.starts = _fitted(sample, lists, plan), [0]
        for part in parts:
            vectors = read(part)
            if len(vectors):
                self.index.add(vectors)
            self.starts.append(self.starts[-1] + len(vectors))

    def search(self, queries: Floats, k: int, recall: float) -> tuple[Floats, Ints, Ints]:
        """As `nearest`; exactly if no setting reaches the recall."""
        asked = queries[np.linspace(0, len(queries) - 1, min(ASKED, len(queries)), dtype=np.int64)]
        truth = self._flat(search(asked, self._vectors(), k))
        for probes, wider in self._settings():
            if self._found(asked, truth, k, probes, wider) >= recall:
                return self._placed(*self.look(queries, k, probes, wider))
        return search(queries, self._vectors(), k)

    def _vectors(self) -> Iterator[tuple[int, Floats]]:
        return ((part, self.read(part)) for part in self.parts)

    def _settings(self) -> Iterator[tuple[int, int]]:
        """(lists probed, candidates per hit), from cheap to dear; beyond a quarter of the lists, exact search is better."""
        for wider in WIDER if self.coded else (1,):
            yield from ((2**at, wider) for at in range(2, max(3, (self.index.nlist // 4).bit_length())))

    def _found(self, asked: Floats, truth: Ints, k: int, probes: int, wider: int) -> float:
        """Recall that 95% of such samples let one count on: what was found, less 1.64 standard errors."""
        found = self.look(asked, k, probes, wider)[1]
        wanted = truth >= 0
        count = max(1, int(wanted.sum()))
        share = ((found[:, :, None] == truth[:, None, :]).any(axis=1) & wanted).sum() / count
        return float(share - 1.64 * np.sqrt(share * (1 - share) / count))

    def look(self, queries: Floats, k: int, probes: int, wider: int = 1) -> tuple[Floats, Ints]:
        """Products and rows of the shard, (Q, k) each, descending; row -1 where the probed lists hold too few."""
        self.index.nprobe = probes
        products, rows = self.index.search(queries, k * wider if self.coded else k)
        if self.coded:
            products = self._exact_products(queries, rows)
            order = np.argsort(-products, axis=1, kind="stable")[:, :k]
            products, rows = np.take_along_axis(products, order, axis=1), np.take_along_axis(rows, order, axis=1)
        return np.where(rows < 0, np.float32(-np.inf), products), rows

    def _exact_products(self, queries: Floats, rows_QC: Ints) -> Floats:
        """(Q, C) products with the vectors themselves, read part by part."""
        products = np.full(rows_QC.shape, -np.inf, np.float32)
        for part, start, end in zip(self.parts, self.starts, self.starts[1:], strict=False):
            query, place = np.nonzero((rows_QC >= start) & (rows_QC < end))
            vectors = self.read(part) if len(query) else np.zeros((0, queries.shape[1]), np.float32)
            for at in range(0, len(query), PAIRS):
                q, c = query[at : at + PAIRS], place[at : at + PAIRS]
                products[q, c] = np.einsum("nd,nd->n", queries[q], vectors[rows_QC[q, c] - start])
        return products

    def _placed(self, products: Floats, rows: Ints) -> tuple[Floats, Ints, Ints]:
        """Rows of the shard as part numbers and rows of a part."""
        at = np.clip(np.searchsorted(self.starts, rows, side="right") - 1, 0, len(self.parts) - 1)
        missing = rows < 0
        parts, within = np.asarray(self.parts, np.int64)[at], rows - np.asarray(self.starts, np.int64)[at]
        return products, np.where(missing, -1, parts), np.where(missing, -1, within)

    def _flat(self, found: tuple[Floats, Ints, Ints]) -> Ints:
        """Part numbers and rows of a part as rows of the shard."""
        _, parts, rows = found
        start = np.zeros(max(self.parts) + 1, np.int64)
        start[list(self.parts)] = self.starts[:-1]
        return np.where(parts < 0, -1, start[np.maximum(parts, 0)] + rows)


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
