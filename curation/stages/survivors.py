"""survivors: one image of every group of copies, and none that copies a protected image.

Source: DINOv2 paper, appendix A.3: connected components, one kept of each; components that hold an image of an
evaluation set are dropped whole.

Differs from the paper: the edges that tie an image to a protected one count between those two only, so that the lower
reference threshold does not chain the pool together; and a threshold may belong to one protected set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import copy_records, records
from curation.graph.components import BLOCK, Nodes, ids_of, in_blocks, keys_of, nodes_of
from curation.graph.groups import Best, Block, Bools, Floats, Ints, direct, grouped, split
from curation.stage import WholeStage, derived
from curation.store import Parts, join

SPLITS = ("none", "representative")
_NONE = np.float32(np.inf)  # the threshold of an image that is not protected


@dataclass(frozen=True, kw_only=True)
class SurvivorsConfig:
    """When two images are copies. All three values belong to the copy network: None takes the network's own, but for
    `confirm` where the recipe names a cosine itself: then the cosine alone decides."""

    self_similarity: float | None = None
    """Cosine from which two pool images are alleged to be copies (0.60 for SSCD in the paper)."""
    reference_similarity: float | None = None
    """Cosine from which an image is alleged to copy a protected one (0.45 for SSCD in the paper)."""
    confirm: float | None = None
    """Cosine + agreement of the thumbnails (curation/align.py) from which an alleged pair is believed.
    0: the cosine alone decides, as in the paper."""
    shared: int | None = None
    """Keypoints in common (curation/matching.py) from which an alleged pair is believed whatever its cosine; 0: none are
    looked for. Counts only where `confirm` is above 0."""
    k: int = 64
    """Most copies looked at per image."""
    giant: int = 1000
    """Images from which on a group is reported as too large to be believed."""
    split: str = "none"
    """"representative": an image stays in a group only if it has an edge to the one that is kept; the others form
    groups of their own by the same rule (curation/graph/groups.py, split). Where a group has more than k images, its
    edges are cut at k per image, and true copies may part. "none": a chain of copies is one group."""
    as_is: tuple[str, ...] = derived()
    """Seed sets that enter the manifest as they are: pool copies of them give way."""
    protect: tuple[tuple[str, float], ...] = derived()
    """(protected set, its own reference_similarity), of those that have one."""

    def __post_init__(self) -> None:
        for name in ("self_similarity", "reference_similarity"):
            value = getattr(self, name)
            if value is not None and not -1 <= value <= 1:
                raise ValueError(f"{name} is a cosine, -1 to 1, not {value}")
        if self.split not in SPLITS:
            raise ValueError(f"split is one of {', '.join(SPLITS)}, not {self.split}")
        if self.giant < 2:
            raise ValueError(f"giant is a number of images, 2 or more, not {self.giant}")


@dataclass(frozen=True)
class _Sets:
    """(N,) each: which images are in the pool, a seed set, an as-is seed set; limit: of the protected, their threshold."""

    pool: Bools
    seed: Bools
    as_is: Bools
    limit: Floats

    @property
    def protected(self) -> Bools:
        return self.limit < _NONE

    @property
    def rival(self) -> Bools:
        return self.pool | self.as_is


@dataclass(frozen=True)
class _Groups:
    """What the edges come to, over the N images that have one; -1 and -2 stand for none."""

    nodes: Nodes
    kept: Ints  # the representative
    size: Ints
    direct: Floats  # cosine to the representative
    strongest: Best  # edge between rivals
    touch: Best  # own edge to a protected image
    reached: Best  # that of the group, at its representative
    limit: Floats  # the threshold of a protected image


def judge(inputs: Mapping[str, Parts], cfg: SurvivorsConfig) -> Iterator[tuple[int, pa.Table]]:
    """copy_records.SURVIVORS for every described image. Images with an edge are held, some 100 bytes each; edges never."""
    groups = _groups(inputs, cfg)
    for part in inputs["descriptors"].numbers:
        images = inputs["images"].kept_part(part, ["image_id", "sets"])
        yield part, _verdicts(join(inputs["descriptors"].kept_part(part, ["image_id"]), images), groups, cfg)


def _believed(edges: Parts, cfg: SurvivorsConfig) -> Iterator[pa.Table]:
    """Blocks of the edges whose cosine and agreement come to `confirm`, or that share enough keypoints; all if that is 0."""
    for table in in_blocks((table for _, table in edges.tables()), BLOCK // 4):
        if not cfg.confirm:
            yield table
            continue
        sums = pc.greater_equal(pc.add(table["similarity"], table["agreement"]), cfg.confirm)
        points = pc.greater_equal(table["shared"], cfg.shared or 1 << 30)
        yield table.filter(pc.or_(pc.fill_null(sums, False), pc.fill_null(points, False)))


def _groups(inputs: Mapping[str, Parts], cfg: SurvivorsConfig) -> _Groups:
    edges = inputs["edges"]
    nodes = nodes_of(keys_of(table[end]) for table in _believed(edges, cfg) for end in ("a", "b"))
    sets, rank = _facts(inputs["images"], nodes, cfg)

    def numbered() -> Iterator[Block]:
        for table in _believed(edges, cfg):
            a, b = (nodes.number(keys_of(table[end])) for end in ("a", "b"))
            yield a, b, table["similarity"].to_numpy()

    def ties() -> Iterator[Block]:
        for a, b, similarity in numbered():
            tied = _tied(a, b, similarity, sets, cfg)
            yield a[tied], b[tied], similarity[tied]

    n = len(nodes)
    touch, strongest = _strongest(n, numbered, sets, cfg)
    kept = (split if cfg.split == "representative" else grouped)(n, ties, rank)
    reached, has = Best(n), np.flatnonzero(touch.other >= 0)
    reached.see(kept[has], touch.other[has], touch.similarity[has])
    itself = np.flatnonzero(sets.protected)  # a protected image in a group of the pool takes it along
    reached.see(kept[itself], itself, np.ones(len(itself), np.float32))
    size = np.bincount(kept, minlength=n)[kept] if n else np.zeros(0, np.int64)
    return _Groups(nodes, kept, size, direct(n, ties, kept), strongest, touch, reached, sets.limit)


def _tied(a: Ints, b: Ints, similarity: Floats, sets: _Sets, cfg: SurvivorsConfig) -> Bools:
    return sets.rival[a] & sets.rival[b] & (similarity >= np.float32(cfg.self_similarity or 0))


def _strongest(n: int, edges: Callable[[], Iterator[Block]], sets: _Sets, cfg: SurvivorsConfig) -> tuple[Best, Best]:
    """Every image's strongest edge to a protected image, and to a rival. A rival's edge to a protected rival is both."""
    touch, strongest = Best(n), Best(n)
    for a, b, similarity in edges():
        tied = _tied(a, b, similarity, sets, cfg)
        for one, other in ((a, b), (b, a)):
            near = sets.protected[other] & (tied | (similarity >= sets.limit[other]))
            touch.see(one[near], other[near], similarity[near])
            strongest.see(one[tied], other[tied], similarity[tied])
    return touch, strongest


def _facts(images: Parts, nodes: Nodes, cfg: SurvivorsConfig) -> tuple[_Sets, Ints]:
    """Sets of the images with an edge, and their rank: an as-is seed, then most pixels, most bytes, lowest id."""
    n = len(nodes)
    pixels, length = np.zeros(n, np.int64), np.zeros(n, np.int64)
    sets = _Sets(np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, bool), np.full(n, _NONE))
    for _, table in images.kept(["image_id", "sets", "width", "height", "length"]):
        at = nodes.number(keys_of(table["image_id"]))
        has = at >= 0
        found, at = _sets(table["sets"].filter(pa.array(has)), cfg), at[has]
        for name in ("pool", "seed", "as_is", "limit"):
            getattr(sets, name)[at] = getattr(found, name)
        width, height, size = (table[name].to_numpy()[has].astype(np.int64) for name in ("width", "height", "length"))
        pixels[at], length[at] = width * height, size
    rank = np.empty(n, np.int64)
    rank[np.lexsort((-length, -pixels, ~sets.as_is))] = np.arange(n)  # stable: then the lowest number, the lowest id
    return sets, rank


def _sets(column: pa.ChunkedArray, cfg: SurvivorsConfig) -> _Sets:
    """What the lists of sets in a column say of each image."""
    lists = column.combine_chunks()
    owner, names = np.array(pc.list_parent_indices(lists), np.int64), pc.list_flatten(lists)

    def held(test: pa.Array) -> Bools:
        out = np.zeros(len(lists), bool)
        out[owner[np.array(test, bool)]] = True
        return out

    named = dict(cfg.protect)
    limit = np.full(len(lists), _NONE)
    for name in pc.unique(names).to_pylist():
        if name.startswith(records.PROTECT_PREFIX):  # of an image of several sets, the lowest counts
            least = named.get(name.removeprefix(records.PROTECT_PREFIX), cfg.reference_similarity)
            rows = owner[np.array(pc.equal(names, name), bool)]
            limit[rows] = np.minimum(limit[rows], np.float32(least or 0))
    as_is = pa.array([records.SEED_PREFIX + name for name in cfg.as_is], pa.string())
    seed = held(pc.starts_with(names, records.SEED_PREFIX))
    return _Sets(held(pc.equal(names, records.POOL)), seed, held(pc.is_in(names, as_is)), limit)


def _verdicts(rows: pa.Table, groups: _Groups, cfg: SurvivorsConfig) -> pa.Table:
    """copy_records.SURVIVORS of some images. Seeds are never dropped: they ask, and may be unusable as an answer."""
    at, sets = groups.nodes.number(keys_of(rows["image_id"])), _sets(rows["sets"], cfg)

    def of(values: Any, none: float) -> Any:
        out = np.full(len(at), none, values.dtype)
        out[at >= 0] = values[at[at >= 0]]
        return out

    kept, size = of(groups.kept, -1), of(groups.size, 1)
    own, strongest, straight = of(groups.touch.other, -1), of(groups.strongest.other, -1), of(groups.direct, -2)
    touches = np.where(own >= 0, own, of(groups.reached.other[groups.kept], -1))
    touch_score = np.where(own >= 0, of(groups.touch.similarity, -2), of(groups.reached.similarity[groups.kept], -2))
    touch_score = np.where(sets.protected, np.float32(1), touch_score)
    leak, copied = sets.protected | (touches >= 0), (at >= 0) & (kept != at)
    leaked, alone = leak & sets.pool & ~sets.seed, leak & ~sets.pool & ~sets.seed
    copy = ~leak & copied & ~sets.seed
    limit = np.full(len(at), cfg.self_similarity or 0, np.float32)
    asked = np.append(groups.limit, _NONE)[touches]
    limit = np.where(leaked, np.where(sets.protected, sets.limit, np.where(touch_score >= asked, asked, limit)), limit)
    score = np.where(leaked, touch_score, np.where(straight > -2, straight, of(groups.strongest.similarity, -2)))
    indirect = ((copy & (straight == -2)) | (leaked & ~sets.protected & (own < 0))) & (strongest >= 0)
    touched = pc.if_else(pa.array(sets.protected), rows["image_id"].combine_chunks(), _ids(groups.nodes, touches))
    columns: dict[str, Any] = {
        "image_id": rows["image_id"],
        "sets": rows["sets"],
        "group_id": _ids(groups.nodes, np.where(size > 1, kept, -1)),
        "group_size": size,
        "usable": ~leak & ~(copied & sets.seed & ~sets.as_is),  # a seed's representative may be chosen instead
        "touches": touched,
        "touch_similarity": pa.array(touch_score, mask=~leak),
        "via": _ids(groups.nodes, np.where(indirect, strongest, -1)),
        "via_similarity": pa.array(of(groups.strongest.similarity, -2), mask=~indirect),
        "drop_reason": np.select([leaked, alone, copy], ["protected_copy", "protected_set", "copy"], "").astype(object),
        "drop_score": pa.array(score, mask=~(leaked | copy)),
        "drop_limit": pa.array(limit, mask=~(leaked | copy)),
        "drop_cause": pc.if_else(pa.array(leaked), touched, _ids(groups.nodes, np.where(copy, kept, -1))),
    }
    columns["drop_reason"] = pa.array(columns["drop_reason"], pa.string(), mask=~(leaked | alone | copy))
    arrays = [columns.get(f.name, pa.nulls(len(at), f.type)) for f in copy_records.SURVIVORS]
    return pa.Table.from_arrays(
        [a if isinstance(a, pa.ChunkedArray) else pa.array(a) for a in arrays], copy_records.SURVIVORS.names
    ).cast(copy_records.SURVIVORS)


def _ids(nodes: Nodes, numbers: Ints) -> pa.Array:
    """Numbers as image_ids; -1 as null."""
    if not len(nodes):
        return pa.nulls(len(numbers), pa.string())
    names = ids_of(nodes.take(np.maximum(numbers, 0)))
    return pc.if_else(pa.array(numbers >= 0), names, pa.scalar(None, pa.string()))


STAGE = WholeStage(name="survivors", consumes=("descriptors", "edges", "images"), version=4, fn=judge)
