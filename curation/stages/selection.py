"""selection: what each seed set chooses, why, and with what weight.

Source: DINOv2 paper, section 3 and appendix A.4. as_is: the seed images themselves. sample: k neighbours of each seed
image. cluster: from every cluster hit by at least `min_hits` seed images up to `per_cluster` images, up to `cap` in
all; how they are drawn inside a cluster is not published: here by a fair draw that depends on image_id and seed alone.

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
from curation.sets import dump, in_pool, in_seeds, shuffled_order
from curation.stage import WholeStage, derived
from curation.store import Parts, join

MODES = ("as_is", "sample", "cluster")


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

    def __post_init__(self) -> None:
        for mode in self.mode:
            if mode not in MODES:
                raise ValueError(f'seed set {self.name}: mode "{mode}" is none of {", ".join(MODES)}')
        for name in ("k", "min_hits", "per_cluster", "cap"):
            if getattr(self, name) < 1:
                raise ValueError(f"seed set {self.name}: {name} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """How choices become a set."""

    collisions: Literal["next_unused", "keep"] = "next_unused"
    """When two images of a seed set retrieve the same image."""
    seed: int = 0
    """Of the draw inside clusters."""
    seeds: tuple[SeedPlan, ...] = derived()
    """How each seed set chooses, in the order of the recipe."""

    def __post_init__(self) -> None:
        if self.collisions not in ("next_unused", "keep"):
            raise ValueError(f'collisions = "{self.collisions}" is neither "next_unused" nor "keep"')


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
    for part in inputs["embeddings"].numbers:
        yield part, _decide(_rows(inputs, part), choices, capped, cfg)


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
    take = _next_unused if collisions == "next_unused" else _nearest
    chosen: dict[str, list[Choice]] = defaultdict(list)
    for seed_id, (name, rank, similarity) in take(lists, plan.k):
        chosen[name].append(Choice(plan.name, "sample", seed_id, rank, round(similarity, 6)))
    return chosen


Lists = Mapping[str, list[tuple[str, int, float]]]
Taken = Iterator[tuple[str, tuple[str, int, float]]]


def _nearest(lists: Lists, k: int) -> Taken:
    return ((seed, hit) for seed, hits in lists.items() for hit in hits[:k])


def _next_unused(lists: Lists, k: int) -> Taken:
    """Round by round, nearest pairs first: a seed image takes its nearest neighbour that nobody has taken."""
    used: set[str] = set()
    at = dict.fromkeys(lists, 0)
    for _ in range(k):
        heads = {seed: _skip(hits, at[seed], used) for seed, hits in lists.items()}
        order = sorted((s for s in lists if heads[s] < len(lists[s])), key=lambda s: (-lists[s][heads[s]][2], s))
        for seed in order:
            at[seed] = _skip(lists[seed], heads[seed], used)
            if at[seed] < len(lists[seed]):
                used.add(lists[seed][at[seed]][0])
                yield seed, lists[seed][at[seed]]


def _skip(hits: list[tuple[str, int, float]], at: int, used: set[str]) -> int:
    while at < len(hits) and hits[at][0] in used:
        at += 1
    return at


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


def _place_in_run(values: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each run of equal values."""
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])) if len(values) else np.zeros(0, int)
    return np.arange(len(values)) - np.repeat(starts, np.diff(np.append(starts, len(values))))


def _decide(rows: pa.Table, choices: Choices, capped: dict[str, tuple[int, int]], cfg: SelectionConfig) -> pa.Table:
    as_is = [plan.name for plan in cfg.seeds if "as_is" in plan.mode]
    decided = [_decide_one(row, choices.get(row["image_id"], []), capped, as_is, cfg) for row in rows.to_pylist()]
    return pa.Table.from_pylist(decided, schema=records.SELECTION)


def _decide_one(
    row: dict[str, Any], why: list[Choice], capped: dict[str, tuple[int, int]], as_is: list[str], cfg: SelectionConfig
) -> dict[str, Any]:
    holders = [name for name in as_is if records.SEED_PREFIX + name in row["sets"]]
    why = [*(Choice(name, "as_is", row["image_id"], None, 1.0) for name in holders), *why]
    out = {"image_id": row["image_id"], "cluster": row["cluster"]}
    if not row["usable"]:
        if row["touches"] is None:
            return out | {"drop_reason": "copy", "drop_cause": row["group_id"]}
        return out | {"drop_reason": "protected_copy", "drop_score": row["touch_similarity"], "drop_cause": row["touches"]}
    if why:
        first = why[0]
        weight = float(len(why)) if cfg.collisions == "keep" else 1.0
        return out | {
            "seed_set": first.seed_set,
            "mode": first.mode,
            "seed_id": first.seed_id if first.mode == "sample" else None,
            "similarity": first.similarity,
            "hits": len(why),
            "weight": weight,
            "chosen_by": dump([c._asdict() for c in why]),
        }
    if records.POOL not in row["sets"]:
        return out | {"drop_reason": "seed_only"}
    if row["image_id"] in capped:
        place, cap = capped[row["image_id"]]
        return out | {"drop_reason": "over_cap", "drop_score": place, "drop_limit": cap}
    return out | {"drop_reason": "not_retrieved"}


STAGE = WholeStage(name="selection", consumes=("embeddings", "survivors", "clusters", "neighbors"), version=1, fn=select)
