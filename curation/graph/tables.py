"""The grid and its cells as the tables that `grid` and `cells` store: there and back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from curation import copy_records
from curation.graph.cells import Slice
from curation.graph.grid import Grid, Level, places, sketch
from curation.store import Parts

NEEDED = ["image_id", "cell", "near", "vector", "head"]  # columns of a slice
PROTECTED = -1  # the cell of images that are compared with all

Ints = NDArray[np.int64]


def grid_table(grid: Grid) -> pa.Table:
    """copy_records.GRID: the cells, then the axes."""
    k, axes = grid.centroids.shape[0], grid.axes.shape[1]
    floors = {level.dims: level.floor for level in grid.levels}
    blank = [None] * axes
    columns = [
        [*range(k), *blank],
        [*grid.bunches.tolist(), *blank],
        [*grid.sizes.tolist(), *blank],
        [*grid.centroids, *np.ascontiguousarray(grid.axes.T)],
        [*([None] * k), *(floors.get(axis + 1) for axis in range(axes))],
        *([value] * (k + axes) for value in (grid.threshold, grid.margin)),
        [None if np.isnan(grid.recall) else grid.recall] * (k + axes),
    ]
    arrays = [pa.array(values, f.type) for values, f in zip(columns, copy_records.GRID, strict=True)]
    return pa.Table.from_arrays(arrays, schema=copy_records.GRID)


def read_grid(table: pa.Table) -> Grid | None:
    """What `grid_table` was given; None if all pairs are compared."""
    if not table.num_rows:
        return None
    k = table.num_rows - table["cell"].null_count
    floors: list[float | None] = table["floor"][k:].to_pylist()
    recall = table["recall"][0].as_py()
    return Grid(
        centroids=_rows(table["vector"][:k]),
        sizes=table["images"][:k].to_numpy(),
        bunches=table["bunch"][:k].to_numpy(),
        axes=np.ascontiguousarray(_rows(table["vector"][k:]).T),
        threshold=table["threshold"][0].as_py(),
        margin=table["margin"][0].as_py(),
        levels=tuple(Level(axis + 1, floor) for axis, floor in enumerate(floors) if floor is not None),
        recall=float("nan") if recall is None else recall,
    )


def _rows(vectors: pa.ChunkedArray) -> NDArray[np.float32]:
    return vectors.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(vectors), -1).copy()


def packed(values: NDArray[np.float16]) -> pa.Array:
    """(N, D) float16 as N binary values: read and written several times as fast as lists (measured: DECISIONS.md)."""
    data, width = np.ascontiguousarray(values), values.shape[1] * 2
    offsets = np.arange(len(values) + 1, dtype=np.int32) * width
    return pa.Array.from_buffers(pa.binary(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def unpacked(column: pa.ChunkedArray) -> Tensor:
    """What `packed` was given, as a tensor of its own."""
    blocks: list[NDArray[np.float16]] = []
    for chunk in column.chunks:
        offsets = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        if len(chunk):
            values = np.frombuffer(chunk.buffers()[2], np.float16, (offsets[-1] - offsets[0]) // 2, offsets[0])
            blocks.append(values.reshape(len(chunk), -1))
    return torch.from_numpy(np.concatenate(blocks) if blocks else np.zeros((0, 0), np.float16))


def rows_between(cells: Parts, part: int, first: int, last: int, columns: list[str]) -> pa.Table:
    """Rows of a part of `cells` in cells first..last, inclusive; only row groups that hold some are read."""
    store = cells.store
    with store.fs.open(store.path(cells.noun, f"part-{part:05d}.parquet"), "rb") as file:
        parquet = pq.ParquetFile(file)
        table = parquet.read_row_groups(_groups(parquet, first, last), columns=columns, use_threads=False)
    home = table["cell"].to_numpy()
    start, stop = np.searchsorted(home, [first, last + 1])
    return table.slice(start, stop - start)


def _groups(parquet: pq.ParquetFile, first: int, last: int) -> list[int]:
    at, groups = parquet.schema_arrow.get_field_index("cell"), range(parquet.num_row_groups)
    bounds = [(g, parquet.metadata.row_group(g).column(at).statistics) for g in groups]
    return [g for g, bound in bounds if bound is None or not bound.has_min_max or (bound.max >= first and bound.min <= last)]


def slices(cells: Parts, grid: Grid, bunch: int, most: int) -> Iterator[Slice]:
    """The images in the cells of a bunch, in slices of `most` rows; at least one, which may be empty."""
    first, last = cells_of(grid, bunch)
    waiting, count = list[pa.Table](), 0
    for part in cells.numbers:
        table = rows_between(cells, part, first, last, NEEDED)
        while count + table.num_rows > most:
            yield _slice([*waiting, table.slice(0, most - count)], grid)
            table, waiting, count = table.slice(most - count), [], 0
        waiting.append(table)
        count += table.num_rows
    yield _slice(waiting, grid)


def cells_of(grid: Grid, bunch: int) -> tuple[int, int]:
    """First and last cell of a bunch."""
    first, end = np.searchsorted(grid.bunches, [bunch, bunch + 1]).tolist()
    return first, end - 1


def _slice(tables: list[pa.Table], grid: Grid) -> Slice:
    """Rows put in the order of their cells; where several parts hold a cell, in that of the parts."""
    table = pa.concat_tables(tables)
    homes = table["cell"].to_numpy()
    order = np.argsort(homes, kind="stable")
    heads = unpacked(table["head"]).numpy()[order].astype(np.float32).reshape(len(order), grid.axes.shape[1])
    ids = table["image_id"].combine_chunks().take(pa.array(order))
    sketches = [torch.from_numpy(sketch(heads, level, grid.threshold)) for level in grid.levels]
    where = places(heads, grid.centroids.shape[1])
    vectors = unpacked(table["vector"])[torch.from_numpy(order)]
    return Slice(ids, homes[order], table["near"].to_numpy()[order], where, vectors, sketches)
