"""centroids: spherical k-means on the pool's embeddings; `passes` says how that went.

A large sample is fitted by all workers, pass by pass: labels by part, sums by lot of parts, means. With `split` each of the
clusters found so is cut into finer ones (curation/cuts.py). Clusters of clusters (`levels`):
curation/kmeans/hierarchical.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from curation import cuts, kmeans, records
from curation.ahead import ahead
from curation.encode import unit
from curation.kmeans import lloyd
from curation.kmeans.hierarchical import fit_levels, level_plans
from curation.kmeans.tables import first_level, level_table, partial_of, partial_table
from curation.sets import Bools, in_pool, shuffled_order
from curation.stage import PlannedStage, RoundsStage, WholeStage
from curation.store import Parts, Store, join, matrix

PER_CENTROID = 64  # rows of the pool that a centroid is fitted on, at most
SEEDS = 16  # rows of the sample that a first centroid is drawn from
LOTS = 64  # of parts, at most: each lot is a sum in a fixed order, whatever the number of workers
TOLERANCE = 1e-4  # of a mean cosine: what a pass must gain for another


@dataclass(frozen=True, kw_only=True)
class ClustersConfig:
    """How finely the pool is cut into concepts."""

    k: int = 0
    """Clusters; 0: 2 x the square root of the number of pool images, at most 100,000 (the paper's)."""
    iterations: int = 20
    """Most Lloyd passes."""
    seed: int = 0
    """Of seeding and sampling."""
    alone_rows: int = 65_536
    """Images to fit on, up to which one task does it all; more are fitted pass by pass, on all workers."""
    levels: tuple[int, ...] = ()
    """Clusters of each level, the finest first; instead of k. Levels above the first are clusters of clusters."""
    split: int = 1
    """Above 1: the first level in two stages, k / split clusters, each of them cut into `split`. For 10^5 clusters and more."""
    resample: int = 10
    """Times that a level above the first is fitted anew on its most central points, so that it is spread evenly."""

    def __post_init__(self) -> None:
        if self.k < 0 or min(self.iterations, self.split) < 1 or self.resample < 0:
            raise ValueError("k and resample are 0 or more, iterations and split 1 or more")
        if any(k < 1 for k in self.levels) or list(self.levels) != sorted(self.levels, reverse=True):
            raise ValueError(f"levels are numbers of clusters, the finest first, not {list(self.levels)}")
        if self.levels and self.k:
            raise ValueError("name k or levels, not both")


def _counted(_part: int, inputs: Mapping[str, Parts], cfg: ClustersConfig) -> pa.Table:
    """How many clusters there will be before any is cut, and which share of the pool's images they are fitted on."""
    numbers = inputs["embeddings"].numbers
    pool = sum(int(_pool(inputs, part, ["image_id"])[1].sum()) for part in numbers)
    asked = cfg.levels[0] if cfg.levels else cfg.k or min(100_000, math.ceil(2 * math.sqrt(pool)))
    asked = min(asked, max(1, pool))
    return pa.table({"k": [math.ceil(asked / cfg.split)], "share": [min(1.0, asked * PER_CENTROID / max(1, pool))]})


def _pool(inputs: Mapping[str, Parts], part: int, columns: list[str]) -> tuple[pa.Table, Bools]:
    """A part's kept embeddings, and which of them the pool holds."""
    rows = join(inputs["embeddings"].kept_part(part, columns), inputs["images"].kept_part(part, ["image_id", "sets"]))
    return rows, in_pool(rows["sets"])


def _sampled(part: int, inputs: Mapping[str, Parts], cfg: ClustersConfig) -> pa.Table:
    """A share of a part's pool images, drawn by image_id: their vectors, and the draw."""
    share = inputs[_COUNT].whole()["share"][0].as_py()
    rows, pool = _pool(inputs, part, ["image_id", "embedding"])
    draw = shuffled_order(rows["image_id"].to_pylist(), cfg.seed)
    kept = np.flatnonzero(pool & (draw <= np.uint64(share * (2**64 - 2**11))))
    vectors = rows["embedding"].combine_chunks().take(pa.array(kept))
    return pa.table({"vector": vectors, "draw": pa.array(draw[kept])})


def vectors(sample: Parts, part: int) -> lloyd.Floats:
    return unit(matrix(sample.part(part, ["vector"])["vector"]))


def _begun(_part: int, inputs: Mapping[str, Parts], cfg: ClustersConfig) -> pa.Table:
    """Of a small sample the last centroids; of a large one the first, by k-means++ on a share of it."""
    sample, k = inputs[_SAMPLE], int(inputs[_COUNT].whole()["k"][0].as_py())
    rows = sum(table.num_rows for _, table in sample.tables(["draw"]))
    k = min(k, rows)
    if rows <= cfg.alone_rows:
        x = np.concatenate([vectors(sample, part) for part in sample.numbers] or [np.zeros((0, 1), np.float32)])
        if not k:
            return table_of(np.zeros((0, 1), np.float32), np.zeros(0, np.int64), [], ended=True)
        fit = kmeans.fit(x, k, cfg.iterations, cfg.seed, TOLERANCE)
        return table_of(fit.centroids, fit.sizes, fit.passes, ended=True)
    draws = np.concatenate([table["draw"].to_numpy() for _, table in sample.tables(["draw"])])
    limit = np.partition(draws, min(len(draws), k * SEEDS) - 1)[min(len(draws), k * SEEDS) - 1]
    few = [vectors(sample, part)[sample.part(part, ["draw"])["draw"].to_numpy() <= limit] for part in sample.numbers]
    first = kmeans.plus_plus(np.concatenate(few), k, np.random.default_rng(cfg.seed))
    return table_of(first, np.zeros(k, np.int64), [], ended=False)


def table_of(c: lloyd.Floats, sizes: lloyd.Ints, passes: list[lloyd.Pass], *, ended: bool) -> pa.Table:
    """records.CENTROIDS of the first level; what the passes said goes with it."""
    told = {"passes": json.dumps([asdict(one) for one in passes]), "ended": json.dumps(ended)}
    return level_table(c, sizes).replace_schema_metadata(told)


def _told(table: pa.Table) -> list[lloyd.Pass]:
    return [lloyd.Pass(**one) for one in json.loads((table.schema.metadata or {}).get(b"passes", b"[]"))]


def _labelled(part: int, inputs: Mapping[str, Parts], _cfg: ClustersConfig, number: int) -> pa.Table:
    """The cluster of every row of a part of the sample, now and in the pass before, and the cosine."""
    centroids = first_level(inputs[_means(number - 1)].whole())
    before = None if number == 1 else inputs[_labels(number - 1)].part(part, ["cluster"])["cluster"].to_numpy().copy()
    labels, best = kmeans.assign(vectors(inputs[_SAMPLE], part), centroids, before)
    earlier = np.full(len(labels), -1) if before is None else before
    return pa.table({"cluster": labels, "before": pa.array(earlier, pa.int64()), "similarity": best})


def _summed(lot: int, inputs: Mapping[str, Parts], cfg: ClustersConfig, number: int) -> pa.Table:
    """What the parts of a lot say about the next centroids."""
    k = inputs[_means(number - 1)].whole(["cluster"]).num_rows

    def partials() -> Iterator[lloyd.Partial]:
        for part, x in ahead(partial(vectors, inputs[_SAMPLE]), _lots(inputs[_SAMPLE])[lot]):
            said = inputs[_labels(number)].part(part)
            labels, before, best = (said[name].to_numpy().copy() for name in ("cluster", "before", "similarity"))
            yield lloyd.partial(x, labels, best, k, before)

    return partial_table(lloyd.merged(partials()))


def _averaged(_part: int, inputs: Mapping[str, Parts], cfg: ClustersConfig, number: int) -> pa.Table:
    """The next centroids, and whether they are the last."""
    earlier = inputs[_means(number - 1)].whole()
    found = lloyd.merged(partial_of(table) for _, table in inputs[_sums(number)].tables())
    passes = [*_told(earlier), lloyd.told(found, euclidean=False)]
    ended = number >= cfg.iterations or lloyd.ended(passes, TOLERANCE, euclidean=False)
    return table_of(lloyd.moved(found, first_level(earlier), euclidean=False), found.sizes, passes, ended=ended)


def _lots(sample: Parts) -> list[list[int]]:
    """Consecutive parts, put together to LOTS of about as many parts."""
    count = max(1, min(LOTS, len(sample.numbers)))
    return [part.tolist() for part in np.array_split(np.array(sample.numbers), count)]


def _finished(_part: int, inputs: Mapping[str, Parts], cfg: ClustersConfig, number: int) -> pa.Table:
    """records.CENTROIDS of all levels."""
    base, cut = inputs[_means(number)].whole(), inputs[_CUT]
    told = base.schema.metadata
    if cut.numbers:
        finer = cut.whole()
        base = level_table(first_level(finer), finer["images"].to_numpy())
    if len(cfg.levels) < 2 or not base.num_rows:
        return base.replace_schema_metadata(told)
    tables, below = list[pa.Table](), base
    centroids, images = first_level(base), base["images"].to_numpy()
    sizes = [min(k, len(centroids)) for k in cfg.levels[1:]]
    plans = level_plans(len(centroids), sizes, cfg.resample)
    for at, level in enumerate(fit_levels(centroids, plans, cfg.iterations, cfg.seed)):
        place = below.schema.get_field_index("parent")
        tables.append(below.set_column(place, records.CENTROIDS.field("parent"), pa.array(level.labels)))
        images = np.bincount(level.labels, images, len(level.centroids)).astype(np.int64)
        below = level_table(level.centroids, images, at + 2)
    whole = pa.concat_tables([table.replace_schema_metadata(None) for table in [*tables, below]])
    return whole.replace_schema_metadata(told)


def _homes(part: int, inputs: Mapping[str, Parts], _cfg: ClustersConfig, number: int) -> pa.Table:
    """The rows of a part of the sample, cluster by cluster."""
    return cuts.homes(inputs[_SAMPLE].part(part, ["vector"])["vector"], first_level(inputs[_means(number)].whole()))


def _ends(_part: int, inputs: Mapping[str, Parts], _cfg: ClustersConfig) -> pa.Table:
    """Which clusters are cut together."""
    return pa.table({"end": cuts.ends(inputs[_HOMES])})


def _cut(lot: int, inputs: Mapping[str, Parts], cfg: ClustersConfig) -> pa.Table:
    """The finer centroids of a lot of clusters."""
    ends = [0, *inputs[_ENDS].whole()["end"].to_pylist()]
    return cuts.cut(inputs[_HOMES], ends[lot], ends[lot + 1], cfg.split, cfg.iterations, cfg.seed, TOLERANCE)


_COUNT, _SAMPLE = ".centroids/count", ".centroids/sample"
_HOMES, _ENDS, _CUT = ".centroids/homes", ".centroids/ends", ".centroids/cut"
_INPUTS = ("embeddings", "images")


def _labels(number: int) -> str:
    return f".centroids/{number:05d}-labels"


def _sums(number: int) -> str:
    return f".centroids/{number:05d}-sums"


def _means(number: int) -> str:
    return f".centroids/{number:05d}-means"


def _one(_inputs: Mapping[str, Parts], _cfg: ClustersConfig) -> Sequence[int]:
    return [0]


def _as_embeddings(inputs: Mapping[str, Parts], _cfg: ClustersConfig) -> Sequence[int]:
    return inputs["embeddings"].numbers


def _as_sample(inputs: Mapping[str, Parts], _cfg: ClustersConfig) -> Sequence[int]:
    return inputs[_SAMPLE].numbers


def _if_cut(inputs: Mapping[str, Parts], cfg: ClustersConfig) -> Sequence[int]:
    return _as_sample(inputs, cfg) if cfg.split > 1 else []


def _as_cuts(inputs: Mapping[str, Parts], _cfg: ClustersConfig) -> Sequence[int]:
    return range(inputs[_ENDS].whole().num_rows)


def _as_lots(inputs: Mapping[str, Parts], _cfg: ClustersConfig) -> Sequence[int]:
    return range(len(_lots(inputs[_SAMPLE])))


def rounds(number: int) -> tuple[PlannedStage, ...]:
    """Round 0: a sample and its first centroids. Round n: pass n."""
    if number == 0:
        return (
            PlannedStage(name=_COUNT, consumes=_INPUTS, plan=_one, fn=_counted, version=1),
            PlannedStage(name=_SAMPLE, consumes=(*_INPUTS, _COUNT), plan=_as_embeddings, fn=_sampled, version=1),
            PlannedStage(name=_means(0), consumes=(_COUNT, _SAMPLE), plan=_one, fn=_begun, version=1),
        )
    known = (_SAMPLE, _means(number - 1)) + ((_labels(number - 1),) if number > 1 else ())
    sums = (_SAMPLE, _means(number - 1), _labels(number))
    steps = (
        (_labels(number), known, _as_sample, _labelled),
        (_sums(number), sums, _as_lots, _summed),
        (_means(number), (_means(number - 1), _sums(number)), _one, _averaged),
    )
    return tuple(
        PlannedStage(name=name, consumes=nouns, plan=plan, fn=partial(fn, number=number), version=1)
        for name, nouns, plan, fn in steps
    )


def ended(number: int, store: Store) -> bool:
    """Whether the pass said so."""
    return json.loads(store.part(_means(number), 0).schema.metadata[b"ended"])


def last(number: int) -> tuple[PlannedStage, ...]:
    """The last means, cut if that is asked for, and the noun itself."""
    steps = (
        (_HOMES, (_SAMPLE, _means(number)), _if_cut, partial(_homes, number=number), 1),
        (_ENDS, (_HOMES,), _one, _ends, 1),
        (_CUT, (_HOMES, _ENDS), _as_cuts, _cut, 1),
        ("centroids", (_means(number), _CUT), _one, partial(_finished, number=number), 4),
    )
    return tuple(
        PlannedStage(name=name, consumes=nouns, plan=plan, fn=fn, version=version) for name, nouns, plan, fn, version in steps
    )


CENTROIDS = RoundsStage(name="centroids", consumes=_INPUTS, rounds=rounds, ended=ended, last=last, version=4)


def tell(inputs: Mapping[str, Parts], _cfg: ClustersConfig) -> Iterator[tuple[int, pa.Table]]:
    """records.PASSES: what each pass said."""
    table = inputs["centroids"].part(0)
    rows = [
        {"pass": n, "objective": one.objective, "moved": one.moved, "empties": one.empties, "images": one.rows}
        for n, one in enumerate(_told(table), 1)
    ]
    yield 0, pa.Table.from_pylist(rows, schema=records.PASSES)


PASSES = WholeStage(name="passes", consumes=("centroids",), version=1, fn=tell)
