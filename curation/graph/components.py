"""The groups that edges form: connected components of graphs whose edges need not fit in memory.

Images get numbers in the order of their ids (`nodes_of`), then blocks of edges are merged into labels one after the other
(`Labels`). Memory: 20 bytes per image with an edge (28 while ids are collected), and one block of edges.

Source of the method: DINOv2 paper, appendix A.3 (connected components by disjoint sets). Differs: a block at a time, by
SciPy's linear search over the roots that the block touches, so that no edge is ever held twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

BLOCK = 2_000_000  # edges merged at once
_NIBBLE = np.full(256, 255, np.uint8)
_NIBBLE[list(b"0123456789abcdef")] = np.arange(16)


@dataclass(frozen=True)
class Keys:
    """Ids as numbers: high, low: (N,) the two halves of 128 bits."""

    high: Words
    low: Words

    def __len__(self) -> int:
        return len(self.high)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Keys:
        return Keys(self.high[rows], self.low[rows])


@dataclass(frozen=True)
class Nodes(Keys):
    """Ids in rising order, each once: an id's place is its number."""

    def number(self, keys: Keys) -> Ints:
        """(N,) numbers of ids; -1 where there is none."""
        order = np.argsort(keys.high)  # in order, a search stays in the cache
        found = np.empty(len(keys), np.int64)
        found[order] = self._places(keys.take(order))
        return found

    def _places(self, keys: Keys) -> Ints:
        at = np.searchsorted(self.high, keys.high)
        out, left = np.full(len(keys), -1, np.int64), np.arange(len(keys))
        while len(left):  # ids that share their upper half lie side by side
            inside = at[left] < len(self)
            left = left[inside]
            same = self.high[at[left]] == keys.high[left]
            left = left[same]
            hit = self.low[at[left]] == keys.low[left]
            out[left[hit]] = at[left[hit]]
            left = left[~hit]
            at[left] += 1
        return out


def keys_of(ids: pa.ChunkedArray | pa.Array) -> Keys:
    """Ids of 32 lower-case hexadecimal digits as numbers. Raises ValueError for any other."""
    flat = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if not len(flat):
        return Keys(np.zeros(0, np.uint64), np.zeros(0, np.uint64))
    if flat.null_count or pc.min_max(pc.binary_length(flat)).as_py() != {"min": 32, "max": 32}:
        raise ValueError("an image_id has 32 hexadecimal digits")
    first = np.frombuffer(flat.buffers()[1], np.int32)[flat.offset]
    nibbles = _NIBBLE[np.frombuffer(flat.buffers()[2], np.uint8)[first : first + 32 * len(flat)]]
    if nibbles.max() > 15:
        raise ValueError("an image_id has 32 hexadecimal digits")
    halves = (nibbles[0::2] << 4 | nibbles[1::2]).view(">u8").astype(np.uint64).reshape(-1, 2)
    return Keys(np.ascontiguousarray(halves[:, 0]), np.ascontiguousarray(halves[:, 1]))


def ids_of(keys: Keys) -> pa.Array:
    """Numbers as ids again."""
    data = np.stack([keys.high, keys.low], axis=1).astype(">u8").tobytes().hex().encode()
    offsets = np.arange(0, 32 * len(keys) + 1, 32, dtype=np.int64)
    large = pa.LargeStringArray.from_buffers(len(keys), pa.py_buffer(offsets), pa.py_buffer(data))
    return large.cast(pa.string())


def distinct(keys: Keys) -> Nodes:
    """The ids in rising order, each once."""
    order: NDArray[np.intp] = np.argsort(keys.high)
    high, low = keys.high[order], keys.low[order]
    if np.any((high[1:] == high[:-1]) & (low[1:] < low[:-1])):  # two ids share their upper half: once in 10^9 images
        order = np.lexsort((keys.low, keys.high))
        high, low = keys.high[order], keys.low[order]
    first = np.ones(len(high), bool)
    first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return Nodes(high[first], low[first])


def nodes_of(blocks: Iterable[Keys]) -> Nodes:
    """The ids of all blocks, in rising order, each once. Memory: 24 bytes per id, and a block."""
    nodes = Nodes(np.zeros(0, np.uint64), np.zeros(0, np.uint64))
    for block in blocks:
        fresh = distinct(block)
        fresh = fresh.take(nodes.number(fresh) < 0)
        nodes = _merged(nodes, fresh)
    return nodes


def _merged(nodes: Nodes, fresh: Keys) -> Nodes:
    """Both, in order. fresh: in order, none of them in `nodes`."""
    at = np.searchsorted(nodes.high, fresh.high)
    tied = np.flatnonzero((at < len(nodes)) & (nodes.high[np.minimum(at, len(nodes) - 1)] == fresh.high)) if len(nodes) else []
    for row in tied:  # the upper half is known: the lower decides
        while at[row] < len(nodes) and nodes.high[at[row]] == fresh.high[row] and nodes.low[at[row]] < fresh.low[row]:
            at[row] += 1
    return Nodes(np.insert(nodes.high, at, fresh.high), np.insert(nodes.low, at, fresh.low))


class Labels:
    """Connected components of `n` nodes under the edges added so far: `values`, (n,) the smallest node of each."""

    def __init__(self, n: int) -> None:
        self.values: NDArray[np.signedinteger] = np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)

    def add(self, a: NDArray[np.signedinteger], b: NDArray[np.signedinteger]) -> None:
        """Merge what the edges (a_i, b_i) tie. Between two blocks every node points at its root, before and after."""
        a, b = self.values[a], self.values[b]
        apart = a != b
        roots, local = np.unique(np.concatenate([a[apart], b[apart]]), return_inverse=True)
        if not len(roots):
            return
        half = len(local) // 2
        self.values[roots] = roots[components(len(roots), local[:half], local[half:])]
        self.values = self.values[self.values]


def components(n: int, a: NDArray[np.signedinteger], b: NDArray[np.signedinteger]) -> Ints:
    """Connected components of `n` nodes under undirected edges (a_i, b_i): (n,) labels, the smallest node of each."""
    edges = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(n, n))
    count, labels = connected_components(edges, directed=False)
    smallest = np.full(count, n, np.int64)
    np.minimum.at(smallest, labels, np.arange(n))
    return smallest[labels]


def in_blocks(tables: Iterable[pa.Table], rows: int = BLOCK) -> Iterator[pa.Table]:
    """The rows of many tables, small ones put together and large ones cut, about `rows` at a time."""
    held: list[pa.Table] = []
    for table in tables:
        for at in range(0, table.num_rows, rows):
            held.append(table.slice(at, rows))
            if sum(t.num_rows for t in held) >= rows:
                yield pa.concat_tables(held)
                held = []
    if held:
        yield pa.concat_tables(held)


def ends(edges: pa.Table) -> pa.Array:
    """The images that have an edge."""
    return pc.unique(pa.chunked_array([*edges["a"].chunks, *edges["b"].chunks], pa.string()))
