"""selection: what each seed set chooses, why, and with what weight.

Source: DINOv2 paper, section 3 and appendix A.4. as_is: the seed images themselves. sample: k neighbours of each seed
image. cluster: from every cluster hit by at least `min_hits` seed images up to `per_cluster` images, up to `cap` in
all; how they are drawn inside a cluster is not published: here by a fair draw that depends on image_id and seed alone.
balanced: beside the seed sets, as DINOv3 mixes its data (arXiv 2508.10104, section 3.1), so many images of the pool, drawn
as evenly over the tree of clusters as its caps allow (curation/kmeans/balanced.py).

Two seed images may retrieve one image. The paper leaves open what then (dinov2 #57). `collisions = "next_unused"`:
rank by rank, each seed image takes its nearest image that its set has not yet taken. "keep": each takes its k nearest,
and an image weighs as much as it has hits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import records
from curation.collisions import nearest, next_unused
from curation.kmeans.balanced import Draw, Ints, leaf_budgets
from curation.kmeans.tables import tree
from curation.sets import dump, in_pool, in_seeds, shuffled_order
from curation.stage import WholeStage, derived
from curation.store import Parts, join

MODES = ("as_is", "sample", "cluster")
BALANCED = "balanced"  # component and mode of the draw over clusters


@dataclass(frozen=True, kw_only=True)
class SeedPlan:
    """How one seed set chooses."""

    name: str
    mode: tuple[str, ...] = ("as_is", "sample")
    k: int = 4
    """Neighbours of each seed image (sample)."""
    min_hits: int = 4
    """Seed images that a cluster must hold (cluster; the paper: more than 3)."""
    per_cluster: int = 10_000
    """Images taken from such a cluster, at most."""
    cap: int = 1_000_000
    """Images of the set in all (cluster), at most."""
    weight: float = 1.0
    """How often a trainer sees an image of the set, beside one of weight 1."""

    def __post_init__(self) -> None:
        for mode in self.mode:
            if mode not in MODES:
                raise ValueError(f'seed set {self.name}: mode "{mode}" is none of {", ".join(MODES)}')
        for name in ("k", "min_hits", "per_cluster", "cap"):
            if getattr(self, name) < 1:
                raise ValueError(f"seed set {self.name}: {name} must be at least 1")
        if self.name == BALANCED:
            raise ValueError(f"no seed set may be called {BALANCED}: that is the draw over clusters")
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"seed set {self.name}: weight must be above 0, not {self.weight}")


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """How choices become a set."""

    collisions: Literal["next_unused", "keep"] = "next_unused"
    """When two images of a seed set retrieve the same image."""
    seed: int = 0
    """Of the draw inside clusters."""
    balanced: int = 0
    """Images of the pool that are drawn evenly over the clusters, beside what seed sets choose; 0: none."""
    repeats: int = 1
    """Times that an image may be drawn for that, at most: clusters with few images then give each several times."""
    weight: float = 1.0
    """How often a trainer sees an image of that draw, beside one of weight 1."""
    seeds: tuple[SeedPlan, ...] = derived()
    """How each seed set chooses, in the order of the recipe."""

    def __post_init__(self) -> None:
        if self.collisions not in ("next_unused", "keep"):
            raise ValueError(f'collisions = "{self.collisions}" is neither "next_unused" nor "keep"')
        if self.balanced < 0 or self.repeats < 1 or not 0 < self.weight < float("inf"):
            raise ValueError("balanced is 0 or more, repeats 1 or more, weight above 0")

    @property
    def weights(self) -> dict[str, float]:
        """Of every component: the seed sets, and the draw over clusters."""
        return {plan.name: plan.weight for plan in self.seeds} | {BALANCED: self.weight}


class Choice(NamedTuple):
    """One seed set's reason to take one image."""

    seed_set: str
    mode: str
    seed_id: str | None
    rank: int | None
    similarity: float | None


Choices = dict[str, list[Choice]]  # image_id -> every reason, in the order of the recipe


def select(inputs: Mapping[str, Parts], cfg: SelectionConfig) -> Iterator[tuple[int, pa.Table]]:
    """records.SELECTION for every embedded image; memory follows the choices, not the pool."""
    choices: Choices = defaultdict(list)
    capped: dict[str, tuple[int, int]] = {}
    for plan in cfg.seeds:
        if "sample" in plan.mode:
            _add(choices, sample(inputs["neighbors"], plan, cfg.collisions))
        if "cluster" in plan.mode:
            chosen, over = by_cluster(inputs, plan, cfg.seed)
            _add(choices, chosen)
            capped |= over
    drawn = draw(inputs, cfg) if cfg.balanced else None
    for part in inputs["embeddings"].numbers:
        rows = _rows(inputs, part)
        yield part, _decide(rows, choices, capped, drawn.of(rows) if drawn else None, cfg)


def _add(choices: Choices, new: Mapping[str, list[Choice]]) -> None:
    for name, why in new.items():
        choices[name].extend(why)


def _rows(inputs: Mapping[str, Parts], part: int) -> pa.Table:
    """image_id, sets, usable, cluster and similarity to its centroid, of a part's kept images."""
    rows = inputs["clusters"].kept_part(part, ["image_id", "cluster", "similarity"])
    return join(rows, inputs["survivors"].kept_part(part, _SURVIVOR))


_SURVIVOR = ["image_id", "sets", "usable", "group_id", "touches", "touch_similarity"]


def sample(neighbors: Parts, plan: SeedPlan, collisions: str) -> dict[str, list[Choice]]:
    """The k choices of every image of a seed set, under one of the two collision rules."""
    lists: dict[str, list[tuple[str, int, float]]] = defaultdict(list)
    for _, table in neighbors.tables():
        for row in table.filter(pc.equal(table["seed_set"], plan.name)).to_pylist():
            lists[row["seed_id"]].append((row["image_id"], row["rank"], row["similarity"]))
    take = next_unused if collisions == "next_unused" else nearest
    chosen: dict[str, list[Choice]] = defaultdict(list)
    for seed_id, (name, rank, similarity) in take(lists, plan.k):
        chosen[name].append(Choice(plan.name, "sample", seed_id, rank, round(similarity, 6)))
    return chosen


def by_cluster(
    inputs: Mapping[str, Parts], plan: SeedPlan, seed: int
) -> tuple[dict[str, list[Choice]], dict[str, tuple[int, int]]]:
    """Choices from the clusters that the seed set hits, and what a cap left out: image_id -> (its place, the cap)."""
    hit = _hit_clusters(inputs, plan)
    ids, cluster, similarity, order = _candidates(inputs, hit, seed)
    ranked = np.lexsort((order, cluster))
    place = _place_in_run(cluster[ranked])
    within = ranked[place < plan.per_cluster]
    within = within[np.argsort(order[within], kind="stable")]
    why = {at: Choice(plan.name, "cluster", None, None, round(float(similarity[at]), 6)) for at in within[: plan.cap]}
    chosen = {ids[at]: [choice] for at, choice in why.items()}
    past = zip(ranked[place >= plan.per_cluster], place[place >= plan.per_cluster], strict=True)
    over = {ids[at]: (int(p) + 1, plan.per_cluster) for at, p in past}
    over |= {ids[at]: (plan.cap + n, plan.cap) for n, at in enumerate(within[plan.cap :], 1)}
    return chosen, over


def _hit_clusters(inputs: Mapping[str, Parts], plan: SeedPlan) -> pa.Array:
    seeds = [t.filter(pa.array(in_seeds(t["sets"], {plan.name})))["cluster"] for t in _all_rows(inputs)]
    counts = pc.value_counts(pa.chunked_array([c for s in seeds for c in s.chunks], pa.int64()))
    return counts.filter(pc.greater_equal(counts.field("counts"), plan.min_hits)).field("values")


def _all_rows(inputs: Mapping[str, Parts]) -> Iterator[pa.Table]:
    return (_rows(inputs, part) for part in inputs["embeddings"].numbers)


def _candidates(inputs: Mapping[str, Parts], hit: pa.Array, seed: int) -> tuple[list[str], Any, Any, Any]:
    """Ids, clusters, similarities and fair-draw ranks of the usable pool images in the hit clusters."""
    found = (t.filter(pc.is_in(t["cluster"], hit)).filter(pc.field("usable")) for t in _all_rows(inputs))
    rows = pa.concat_tables(t.filter(pa.array(in_pool(t["sets"]))) for t in found)
    ids = rows["image_id"].to_pylist()
    return ids, rows["cluster"].to_numpy(), rows["similarity"].to_numpy(), shuffled_order(ids, seed)


@dataclass(frozen=True)
class Drawn:
    """The draw over clusters, done: `limits` are the last ranks that it takes."""

    draw: Draw
    limits: Any
    seed: int

    def of(self, rows: pa.Table) -> tuple[Ints, Ints, Ints]:
        """(N,) each: times that a row is drawn, images of its cluster, and how many that gives; 0 where none may be."""
        places, clusters, ranks = _eligible(rows, self.seed)
        out = np.zeros((3, rows.num_rows), np.int64)
        out[:, places] = self.draw.times(clusters, ranks, self.limits), self.draw.counts[clusters], self.draw.budgets[clusters]
        return out[0], out[1], out[2]


def draw(inputs: Mapping[str, Parts], cfg: SelectionConfig) -> Drawn:
    """`balanced` images of the pool, as evenly over the tree of clusters as can be; memory follows that number."""
    parents, leaves = tree(inputs["centroids"].whole(["cluster", "level", "parent"]))
    counts = np.zeros(leaves, np.int64)
    for rows in _all_rows(inputs):
        counts += np.bincount(_eligible(rows, cfg.seed)[1], minlength=leaves)
    budgets = leaf_budgets(parents, counts, cfg.balanced, np.random.default_rng(cfg.seed), cfg.repeats)
    draw = Draw(budgets, counts)
    for rows in _all_rows(inputs):
        draw.add(*_eligible(rows, cfg.seed)[1:])
    return Drawn(draw, draw.limits(), cfg.seed)


def _eligible(rows: pa.Table, seed: int) -> tuple[Ints, Ints, Any]:
    """Of a part's usable pool images with a cluster: their places in it, clusters, and fair-draw ranks."""
    fit = in_pool(rows["sets"]) & rows["usable"].to_numpy() & pc.is_valid(rows["cluster"]).to_numpy()
    few = rows.filter(pa.array(fit))
    ids = few["image_id"].to_pylist()
    return np.flatnonzero(fit), few["cluster"].to_numpy().astype(np.int64), shuffled_order(ids, seed)


def _place_in_run(values: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each run of equal values."""
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])) if len(values) else np.zeros(0, int)
    return np.arange(len(values)) - np.repeat(starts, np.diff(np.append(starts, len(values))))


def _decide(
    rows: pa.Table, choices: Choices, capped: dict[str, tuple[int, int]], drawn: tuple[Ints, Ints, Ints] | None,
    cfg: SelectionConfig,
) -> pa.Table:  # fmt: skip
    as_is = [plan.name for plan in cfg.seeds if "as_is" in plan.mode]
    decided = list[dict[str, Any]]()
    for at, row in enumerate(rows.to_pylist()):
        why = [Choice(name, "as_is", row["image_id"], None, 1.0) for name in as_is if records.SEED_PREFIX + name in row["sets"]]
        why += choices.get(row["image_id"], [])
        if drawn is not None:
            why += [Choice(BALANCED, BALANCED, None, None, row["similarity"])] * int(drawn[0][at])
        of_cluster = (int(drawn[1][at]), int(drawn[2][at])) if drawn is not None else None
        out = {"image_id": row["image_id"], "cluster": row["cluster"]}
        if why and row["usable"]:
            decided.append(out | _chosen(why, cfg))
        else:
            decided.append(out | _left_out(row, capped.get(row["image_id"]), of_cluster))
    return pa.Table.from_pylist(decided, schema=records.SELECTION)


def _chosen(why: list[Choice], cfg: SelectionConfig) -> dict[str, Any]:
    first = why[0]
    return {
        "seed_set": first.seed_set,
        "mode": first.mode,
        "seed_id": first.seed_id if first.mode == "sample" else None,
        "similarity": first.similarity,
        "hits": len(why),
        "weight": weight(why, cfg),
        "chosen_by": dump([c._asdict() for c in why]),
    }


def weight(why: list[Choice], cfg: SelectionConfig) -> float:
    """Of an image: "keep": the weights of all its choices; else that of the component that wants it most."""
    if cfg.collisions == "keep":
        return float(sum(cfg.weights[c.seed_set] for c in why))
    times = {c.seed_set: 1 for c in why} | {BALANCED: sum(c.mode == BALANCED for c in why)}
    return float(max(cfg.weights[name] * n for name, n in times.items()))


def _left_out(row: dict[str, Any], over: tuple[int, int] | None, of_cluster: tuple[int, int] | None) -> dict[str, Any]:
    """Why an image was not chosen. over: its place, and the cap; of_cluster: its images, and how many are drawn."""
    if not row["usable"]:
        if row["touches"] is None:
            return {"drop_reason": "copy", "drop_cause": row["group_id"]}
        return {"drop_reason": "protected_copy", "drop_score": row["touch_similarity"], "drop_cause": row["touches"]}
    if records.POOL not in row["sets"]:
        return {"drop_reason": "seed_only"}
    if over:
        return {"drop_reason": "over_cap", "drop_score": over[0], "drop_limit": over[1]}
    if of_cluster:
        return {"drop_reason": "not_drawn", "drop_score": of_cluster[0], "drop_limit": of_cluster[1]}
    return {"drop_reason": "not_retrieved"}


_INPUTS = ("embeddings", "survivors", "clusters", "neighbors", "centroids")
STAGE = WholeStage(name="selection", consumes=_INPUTS, version=2, fn=select)
