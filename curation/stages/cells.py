"""grid and cells: the descriptors put in cells, so that copies are looked for near by and not everywhere.

`grid` cuts the space of descriptors into cells and measures how far images have to look; `cells` has every image in its
cell. A small pool has neither: all its pairs are compared. Protected images are in no cell: they are compared with all.

Replaces the inverted file of the DINOv2 paper, appendix A.3 (Faiss IVF-PQ), which `engine = "ivfpq"` keeps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curation import copy_records, records
from curation.encode import unit
from curation.graph import grid as grids
from curation.graph.grid import Floats, Grid, Ints
from curation.graph.tables import PROTECTED, grid_table, packed, read_grid
from curation.sets import roles, shuffled_order
from curation.stage import PlannedStage, WholeStage, derived
from curation.store import Parts, join, matrix

PER_CELL = 8  # rows of the sample that a cell is fitted on
PASSES = 3  # of k-means
QUERIES = 4096  # images whose exact neighbours are found, at least; and one in QUERY_SHARE, up to MOST_QUERIES
QUERY_SHARE, MOST_QUERIES = 240, 16_384
ROW_GROUP = 1024  # rows: a bunch of cells is a small piece of every part
SEED, OTHER_SEED = 0, 1  # of the sample, of the queries
_REFS = [f.name for f in records.BYTES_REF]


@dataclass(frozen=True, kw_only=True)
class CellsConfig:
    """What EdgesConfig says, as far as cells go."""

    engine: str = derived("auto")
    """As in EdgesConfig."""
    exact_below: int = derived(50_000)
    """As in EdgesConfig."""
    recall: float = derived(0.9995)
    """As in EdgesConfig."""
    bunch_rows: int = derived(49_152)
    """As in EdgesConfig."""
    per_root: float = derived(16.0)
    """As in EdgesConfig."""
    self_similarity: float | None = derived(None)
    """Cosine from which two pool images make a pair."""
    as_is: tuple[str, ...] = derived()
    """Seed sets that compete with the pool."""


def fit_grid(inputs: Mapping[str, Parts], cfg: CellsConfig) -> Iterator[tuple[int, pa.Table]]:
    """copy_records.GRID; no rows where all pairs are compared. Memory: a sample of 128 rows per root of the pool's size."""
    parts = inputs["descriptors"].numbers
    n = sum(_rivals(inputs, part, ["image_id"], cfg).num_rows for part in parts)
    cells = cfg.engine == "cells" or (cfg.engine == "auto" and n >= cfg.exact_below)
    if not cells or not n or cfg.self_similarity is None:
        yield 0, copy_records.GRID.empty_table()
        return
    k = math.ceil(cfg.per_root * math.sqrt(n))
    sample = np.concatenate([_drawn(inputs, part, k * PER_CELL / n, SEED, cfg)[0] for part in parts])
    if not len(sample):
        yield 0, copy_records.GRID.empty_table()
        return
    base = _cut(sample, min(k, len(sample)), n, cfg.self_similarity, cfg.bunch_rows)
    asked = [(part, *_drawn(inputs, part, _queries(n) / n, OTHER_SEED, cfg)) for part in parts]
    queries = np.concatenate([rows for _, rows, _ in asked])
    places = np.concatenate([np.stack([np.full_like(at, part), at], axis=1) for part, _, at in asked])
    everything = ((part, _vectors(_rivals(inputs, part, ["image_id", "descriptor"], cfg))) for part in parts)
    truth = grids.true_pairs(queries, places, everything, cfg.self_similarity, SEED)
    yield 0, grid_table(grids.calibrate(base, truth, sample, cfg.recall))


def _queries(n: int) -> int:
    return min(n, max(QUERIES, min(MOST_QUERIES, n // QUERY_SHARE)))


def _cut(sample: Floats, k: int, n: int, threshold: float, bunch_rows: int) -> Grid:
    """k cells, put together to bunches of about `bunch_rows` of the n rows; with all axes, and no settings yet."""
    axes = grids.axes(sample)
    heads = grids.along(sample, axes)
    places = grids.places(heads, grids.reach(heads))
    centroids = grids.centroids(places, k, PASSES, SEED)
    counts = np.bincount(grids.nearest(places, centroids)[0], minlength=k)
    sizes = -(-counts * n // len(sample))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    bunches = np.unique(starts // bunch_rows, return_inverse=True)[1].astype(np.int64)
    return Grid(centroids=centroids, sizes=sizes, bunches=bunches, threshold=threshold, axes=axes)


def _rivals(inputs: Mapping[str, Parts], part: int, columns: list[str], cfg: CellsConfig) -> pa.Table:
    """Columns of a part's images that compete for survival and are not protected."""
    rows = join(inputs["descriptors"].kept_part(part, columns), inputs["images"].kept_part(part, ["image_id", "sets"]))
    role = roles(rows["sets"], cfg.as_is)
    return rows.filter(pa.array(role.rival & ~role.protected))


def _vectors(rows: pa.Table) -> Floats:
    return unit(matrix(rows["descriptor"]))


def _drawn(inputs: Mapping[str, Parts], part: int, share: float, seed: int, cfg: CellsConfig) -> tuple[Floats, Ints]:
    """Unit vectors of a share of a part's rivals, drawn by image_id, and their places among them."""
    rows = _rivals(inputs, part, ["image_id", "descriptor"], cfg)
    ranks = shuffled_order(rows["image_id"].to_pylist(), seed)
    at = np.flatnonzero(ranks <= np.uint64(min(1.0, share) * (2**64 - 2**11)))
    return _vectors(rows.take(pa.array(at))), at


GRID = WholeStage(name="grid", consumes=("descriptors", "images"), version=2, fn=fit_grid)


def plan(inputs: Mapping[str, Parts], _cfg: CellsConfig) -> Sequence[int]:
    """A part for every part of the descriptors."""
    return inputs["descriptors"].numbers


def place(part: int, inputs: Mapping[str, Parts], cfg: CellsConfig) -> pa.Table:
    """copy_records.CELLS: the protected images of a part, and, where there is a grid, its rivals, by cell."""
    grid = read_grid(inputs["grid"].whole())
    rows = join(
        inputs["descriptors"].kept_part(part, ["image_id", "descriptor"]),
        inputs["images"].kept_part(part, ["image_id", "sets", *_REFS]),
    )
    role = roles(rows["sets"], cfg.as_is)
    chosen = np.flatnonzero(role.protected | (role.rival if grid else False))
    rows, free = rows.take(pa.array(chosen)), ~role.protected[chosen]
    x = _vectors(rows)
    home, near = np.full(len(x), PROTECTED, np.int64), np.zeros(len(x), np.float32)
    heads = grids.along(x, grid.axes).astype(np.float16) if grid else np.zeros((len(x), 0), np.float16)
    if grid:
        places = grids.places(heads[free].astype(np.float32), grid.centroids.shape[1])
        home[free], near[free] = grids.nearest(places, grid.centroids)
    kept = [rows["image_id"], home, near, packed(matrix(rows["descriptor"])), packed(heads)]
    kept += [role.rival[chosen], role.judged[chosen]]
    columns = [pa.array(c) if isinstance(c, np.ndarray) else c for c in kept] + [rows[name] for name in _REFS]
    found = pa.Table.from_arrays(columns, schema=copy_records.CELLS).take(pa.array(np.argsort(home, kind="stable")))
    return found.replace_schema_metadata({"row_group": str(ROW_GROUP)})


CELLS = PlannedStage(name="cells", consumes=("grid", "descriptors", "images"), plan=plan, fn=place, version=2)
