"""edges: pairs of images that are copies of one another, or of a protected image.

Source: DINOv2 paper, appendix A.3: pairs above a cosine threshold. A pair that the descriptors allege is believed if
its pictures bear it out: thumbnails laid over each other, or keypoints that say the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from curation import align, copy_records, keypoints, records
from curation.encode import unit
from curation.graph.cells import Rule, Slice, Work, across, pairs, visits
from curation.graph.components import ends
from curation.graph.exact import pairs_above
from curation.graph.grid import Floats, Grid, Ints
from curation.graph.ivfpq import Index, Lists
from curation.graph.tables import PROTECTED, cells_of, read_grid, rows_between, slices, unpacked
from curation.keypoints import Keypoints
from curation.matching import shared_points
from curation.sets import Bools, roles
from curation.sources import read_bytes
from curation.stage import PlannedStage, derived
from curation.store import Parts, join, matrix

PAIRS, MATCHED, THUMBS, EDGES = 4096, 256, 256, 16_384  # pairs (by thumbnail, by keypoints), images, and edges at once
SHARE = 8  # bunches that a small pool is cut into, whatever the number of workers
ENGINES = ("auto", "cells", "ivfpq", "exact")
_REFS = ["image_id", *(f.name for f in records.BYTES_REF)]


@dataclass(frozen=True)
class _Chunk:
    """Some images: who competes for survival, who may not copy a protected image, who is protected."""

    ids: pa.Array
    vectors: Floats  # (N, D) float32, unit rows
    rival: Bools
    judged: Bools
    protected: Bools

    def only(self, rows: Bools) -> _Chunk:
        ids, vectors = self.ids.filter(pa.array(rows)), self.vectors[rows]
        return _Chunk(ids, vectors, self.rival[rows], self.judged[rows], self.protected[rows])


@dataclass(frozen=True, kw_only=True)
class EdgesConfig:
    """How pairs are found, which are looked at and kept. `survivors` judges them; what is not here, it cannot see."""

    engine: str = "auto"
    """"exact": all pairs, quadratic. "cells": near by only; how near is measured. "ivfpq": the paper's Faiss index.
    "auto": exact for a small pool, else cells. Images and protected ones are always compared exactly."""
    exact_below: int = 50_000
    """Images of the pool below which "auto" is exact."""
    recall: float = 0.9995
    """Share of the pairs of a sample of images that "cells" is set to find; `grid` records what it found."""
    bunch_rows: int = 49_152
    """Images that a task holds, twice over, 1.3 kB each: what bounds memory."""
    per_root: float = 16.0
    """Cells per square root of the pool's images."""
    lists: int = 0
    """Inverted lists of "ivfpq" per bunch; 0: 4 x the square root of its images."""
    probes: int = 32
    """Lists of "ivfpq" that are searched."""
    bytes_per_row: int = 64
    """What "ivfpq" keeps of a descriptor in its index; 0: all of it (IVF-Flat)."""
    floor: float | None = None
    """Cosine from which pairs of the pool are stored. None: 0.05 below survivors.self_similarity, or that
    itself where pairs are confirmed. `curate rethreshold` can go down to it without looking at the images again."""
    reference_floor: float | None = None
    """The same of pairs with protected images; None: as above, of the lowest of their thresholds."""
    self_similarity: float | None = derived(None)
    """Cosine from which two pool images make a pair: the floor."""
    reference_similarity: float | None = derived(None)
    """Cosine from which an image and a protected one make a pair: the floor."""
    agreement: float | None = None
    """Cosine from which the thumbnails of a pair are laid over each other (curation/align.py); None: from where
    `confirm` could be reached on, or, without `confirm`, of no pair."""
    shared: bool = derived(False)
    """Whether the keypoints of each pair are compared (curation/matching.py)."""
    k: int = derived(64)
    """Most copies looked at per image: in a cell, or, where all are compared, in a bunch. 0: all."""
    as_is: tuple[str, ...] = derived()
    """Seed sets that enter the manifest as they are: they compete with the pool."""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ValueError(f"engine is one of {', '.join(ENGINES)}, not {self.engine}")
        if not 0 < self.recall <= 1:
            raise ValueError(f"recall is a share, above 0 and up to 1, not {self.recall}")
        if self.bunch_rows < 1 or self.per_root <= 0:
            raise ValueError("bunch_rows and per_root are above 0")


def plan(inputs: Mapping[str, Parts], cfg: EdgesConfig) -> Sequence[int]:
    """Parts of pairs of the pool, one per bunch, then parts of pairs with protected images, one per bunch of parts."""
    bunches = _bunches(inputs["descriptors"], cfg.bunch_rows)
    return range(_pool_parts(read_grid(inputs["grid"].whole()), bunches) + len(bunches))


def _pool_parts(grid: Grid | None, bunches: list[list[int]]) -> int:
    return int(grid.bunches[-1]) + 1 if grid else len(bunches)


def find_edges(part: int, inputs: Mapping[str, Parts], cfg: EdgesConfig) -> pa.Table:
    """Pairs of rivals at or above self_similarity, or (image, protected image) pairs at or above reference_similarity."""
    if cfg.self_similarity is None or cfg.reference_similarity is None:
        raise ValueError("the copy network has no calibrated thresholds: name both in [survivors]")
    grid, bunches = read_grid(inputs["grid"].whole()), _bunches(inputs["descriptors"], cfg.bunch_rows)
    first = _pool_parts(grid, bunches)
    if part >= first:
        return _with_protected(bunches[part - first], inputs, cfg)
    return _in_cells(part, inputs, grid, cfg) if grid else _everywhere(bunches, part, inputs, cfg)


def _in_cells(bunch: int, inputs: Mapping[str, Parts], grid: Grid, cfg: EdgesConfig) -> pa.Table:
    """Pairs found by the images whose home is in a bunch of cells. What it took is written with them."""
    cells, rule, work = inputs["cells"], Rule(grid, cfg.k), Work()
    tables, met = [copy_records.EDGES.empty_table()], {bunch}
    for at, own in enumerate(slices(cells, grid, bunch, cfg.bunch_rows)):
        for target in range(int(grid.bunches[-1]) + 1):
            seen = visits(own, *cells_of(grid, target), grid, work)
            if target != bunch and not seen.rows.any():
                continue
            met.add(target)
            for number, other in enumerate(slices(cells, grid, target, cfg.bunch_rows)):
                same = target == bunch and number == at
                tables.append(_edges(own, own if same else other, pairs(own, own if same else other, seen, rule, work)))
                if target == bunch and number > at:
                    tables.append(_edges(own, other, across(own, other, rule, work)))
    edges = pa.concat_tables(tables).sort_by([("a", "ascending"), ("b", "ascending")])
    refs = (rows_between(cells, p, *cells_of(grid, b), ["cell", *_REFS]) for b in sorted(met) for p in cells.numbers)
    edges = _looked_at(edges, refs, cfg)
    return edges.replace_schema_metadata({"met_pairs": str(work.met), "multiply_adds": str(work.adds)})


def _everywhere(bunches: list[list[int]], at: int, inputs: Mapping[str, Parts], cfg: EdgesConfig) -> pa.Table:
    """Pairs of the images of one bunch of parts with those of it and of every earlier one."""
    y = _load(inputs, bunches[at], cfg)
    y = y.only(y.rival & ~y.protected)
    find, tables = _finder(y.vectors, cfg), [copy_records.EDGES.empty_table()]
    for earlier in range(at + 1):
        x = y if earlier == at else _load(inputs, bunches[earlier], cfg)
        x = x.only(x.rival & ~x.protected)
        tables.append(_edges(x, y, find(x.vectors, earlier == at)))
    parts = [part for bunch in bunches[: at + 1] for part in bunch]
    return _confirmed(pa.concat_tables(tables), inputs["images"], parts, cfg)


def _finder(y: Floats, cfg: EdgesConfig) -> Callable[[Floats, bool], tuple[Ints, Ints, Floats]]:
    """What finds the pairs of rows x with y; told whether x is y."""
    least, k = cfg.self_similarity or 0.0, cfg.k
    if cfg.engine != "ivfpq":
        return lambda x, same: pairs_above(x, y, least, k or len(y), same)
    index = Index(y, Lists(cfg.lists, cfg.probes, cfg.bytes_per_row))
    return lambda x, same: index.pairs_above(x, least, k, same)


def _with_protected(parts: list[int], inputs: Mapping[str, Parts], cfg: EdgesConfig) -> pa.Table:
    """Pairs of the images of some parts with every protected one, each pair once."""
    least = min(cfg.reference_similarity or 0.0, cfg.self_similarity or 0.0)
    x, tables, met = None, [copy_records.EDGES.empty_table()], set(parts)
    for part, y in _protected(inputs["cells"]):
        x = x or _load(inputs, parts, cfg)
        met.add(part)
        i, j, similarity = pairs_above(x.vectors, y.vectors, least, cfg.k or len(y.vectors), False)
        rivals = x.rival[i] & y.rival[j] & (similarity >= (cfg.self_similarity or 0.0))
        both = x.protected[i] & y.judged[j]  # a pair found from either end: the lower id has it
        lower = np.array(pc.less(x.ids.take(pa.array(i)), y.ids.take(pa.array(j))), bool)
        kept = x.judged[i] & ((similarity >= (cfg.reference_similarity or 0.0)) | rivals) & (lower | ~both)
        tables.append(_edges(x, y, (i[kept], j[kept], similarity[kept])))
    return _confirmed(pa.concat_tables(tables), inputs["images"], sorted(met), cfg)


def _protected(cells: Parts) -> Iterator[tuple[int, _Chunk]]:
    """The protected images, part by part, those without any passed over."""
    for part in cells.numbers:
        rows = rows_between(cells, part, PROTECTED, PROTECTED, ["image_id", "cell", "vector", "rival", "judged"])
        if rows.num_rows:
            rival, judged = (np.array(rows[name], bool) for name in ("rival", "judged"))
            vectors = unit(unpacked(rows["vector"]).numpy())
            yield part, _Chunk(rows["image_id"].combine_chunks(), vectors, rival, judged, np.ones(len(rival), bool))


def _edges(x: _Chunk | Slice, y: _Chunk | Slice, found: tuple[Ints, Ints, Floats]) -> pa.Table:
    """copy_records.EDGES of rows (i of x, j of y); an image is no copy of itself."""
    i, j, similarity = found
    a, b = x.ids.take(pa.array(i)), y.ids.take(pa.array(j))
    unseen = (pa.nulls(len(a), pa.float32()), pa.nulls(len(a), pa.int32()))
    edges = pa.Table.from_arrays([a, b, pa.array(similarity), *unseen], schema=copy_records.EDGES)
    return edges.filter(pc.not_equal(edges["a"], edges["b"]))


def _confirmed(edges: pa.Table, images: Parts, parts: list[int], cfg: EdgesConfig) -> pa.Table:
    return _looked_at(edges, (images.kept_part(part, _REFS) for part in parts), cfg)


def _looked_at(edges: pa.Table, images: Iterator[pa.Table], cfg: EdgesConfig) -> pa.Table:
    """The edges with what their pictures say. images: where the bytes of (at least) their ends are."""
    if not edges.num_rows or not (cfg.shared or cfg.agreement is not None):
        return edges
    wanted = ends(edges)
    known = pa.concat_tables([table.select(_REFS).filter(pc.is_in(table["image_id"], wanted)) for table in images])
    runs = (edges.slice(at, EDGES) for at in range(0, edges.num_rows, EDGES))
    return pa.concat_tables([_look(run, known, cfg) for run in runs])


def _look(edges: pa.Table, known: pa.Table, cfg: EdgesConfig) -> pa.Table:
    """Some edges with the agreement of their thumbnails and the keypoints they share."""
    rows = known.filter(pc.is_in(known["image_id"], ends(edges)))
    alike = edges["similarity"].to_numpy() >= (2.0 if cfg.agreement is None else cfg.agreement)
    pictures = _pictures(rows, thumbs=bool(alike.any()), points=cfg.shared)
    names = rows["image_id"].combine_chunks()
    a, b = (torch.from_numpy(pc.index_in(edges[end], names).to_numpy().astype(np.int64)) for end in ("a", "b"))
    agreement, shared = np.full(len(a), np.nan, np.float32), np.full(len(a), -1, np.int32)
    for at in np.array_split(np.flatnonzero(alike), math.ceil(alike.sum() / PAIRS) or 1):
        agreement[at] = align.agreement(pictures.thumbs[a[at]], pictures.thumbs[b[at]])
    for at in range(0, len(a) if cfg.shared else 0, MATCHED):
        pair = slice(at, at + MATCHED)
        shared[pair] = shared_points(pictures.points.take(a[pair]), pictures.points.take(b[pair])).numpy()
    seen = (pa.array(agreement, mask=~alike), pa.array(shared, mask=shared < 0))
    for name, values in zip(("agreement", "shared"), seen, strict=True):
        edges = edges.set_column(edges.schema.get_field_index(name), copy_records.EDGES.field(name), values)
    return edges


@dataclass(frozen=True)
class _Pictures:
    """What is compared of some images: (N, S, S) local contrast of the thumbnails, and keypoints."""

    thumbs: torch.Tensor
    points: Keypoints


def _pictures(rows: pa.Table, *, thumbs: bool, points: bool) -> _Pictures:
    """One that cannot be read agrees with none."""
    small, found = [torch.zeros(0, align.SIDE, align.SIDE)], [keypoints.look([])]
    for at in range(0, rows.num_rows, THUMBS):
        encoded = list(read_bytes(rows.slice(at, THUMBS)))
        small += [align.look(encoded)] if thumbs else []
        found += [keypoints.look(encoded)] if points else []
    return _Pictures(torch.cat(small), Keypoints.join(found))


def _bunches(descriptors: Parts, most: int) -> list[list[int]]:
    """Consecutive parts put together up to `most` images, or to a SHARE of all: a small pool is work for several too."""
    receipts, bunches, room = descriptors.store.receipts(descriptors.noun), list[list[int]](), 0
    most = min(most, math.ceil(sum(receipts[part].kept for part in descriptors.numbers) / SHARE))
    for part in descriptors.numbers:
        if not bunches or receipts[part].kept > room:
            bunches.append([])
            room = most
        bunches[-1].append(part)
        room -= receipts[part].kept
    return bunches


def _load(inputs: Mapping[str, Parts], parts: list[int], cfg: EdgesConfig) -> _Chunk:
    rows = pa.concat_tables(
        join(
            inputs["descriptors"].kept_part(part, ["image_id", "descriptor"]),
            inputs["images"].kept_part(part, ["image_id", "sets"]),
        )
        for part in parts
    )
    role = roles(rows["sets"], cfg.as_is)
    vectors = unit(matrix(rows["descriptor"]))
    return _Chunk(rows["image_id"].combine_chunks(), vectors, role.rival, role.judged, role.protected)


STAGE = PlannedStage(name="edges", consumes=("grid", "cells", "descriptors", "images"), plan=plan, fn=find_edges, version=7)
