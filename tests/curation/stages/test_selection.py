"""selection: collision rules on tables small enough to work out by hand, caps, weights, and every reason."""

from __future__ import annotations

import json

import pytest

from curation import copy_records, records
from curation.stages.selection import SeedPlan, SelectionConfig, select
from curation.store import Store
from tests.curation.making import POOL, by_id, name, put, put_vectors, run

NOUNS = ["embeddings", "survivors", "clusters", "neighbors", "centroids"]
Hits = dict[int, list[tuple[int, float]]]


def selected(
    store: Store, cfg: SelectionConfig, images: dict[int, dict], hits: dict[str, Hits] | None = None,
    parents: tuple[int, ...] = (),
) -> dict:  # fmt: skip
    """images: id -> sets, usable, cluster, similarity. hits: seed set -> seed -> nearest pool images. parents: of clusters."""
    tree = [{"cluster": n, "level": 1, "parent": up} for n, up in enumerate(parents)]
    tops = [{"cluster": n, "level": 2} for n in range(max(parents, default=-1) + 1)]
    put(store, "centroids", tree + tops, records.CENTROIDS)
    names = list(images)
    for part, some in enumerate((names[: len(names) // 2], names[len(names) // 2 :])):
        usual = {"sets": POOL, "usable": True, "touches": None, "cluster": 0, "similarity": 0.5}
        facts = [{"image_id": name(n)} | usual | images[n] for n in some]
        put_vectors(store, "embeddings", dict.fromkeys(some, (1, 0)) or {999: (1, 0)}, part)
        put(
            store,
            "survivors",
            [{k: f[k] for k in ("image_id", "sets", "usable", "touches")} for f in facts],
            copy_records.SURVIVORS,
            part,
        )
        put(store, "clusters", [{k: f[k] for k in ("image_id", "cluster", "similarity")} for f in facts],
            records.CLUSTERS, part)  # fmt: skip
    rows = [{"seed_set": s, "seed_id": name(seed), "rank": rank, "image_id": name(found), "similarity": similarity}
            for s, lists in (hits or {}).items() for seed, found_by in lists.items()
            for rank, (found, similarity) in enumerate(found_by, 1)]  # fmt: skip
    put(store, "neighbors", rows[: len(rows) // 2], records.NEIGHBORS, 0)
    put(store, "neighbors", rows[len(rows) // 2 :], records.NEIGHBORS, 1)
    parts = run(select, store, NOUNS, cfg)
    assert all(table.schema == records.SELECTION for _, table in parts)
    found = by_id(parts)
    assert set(found) == {name(n) for n in images}
    return {int(i[:16], 16): row for i, row in found.items()}


def taken(rows: dict[int, dict]) -> dict[int, list[int]]:
    """Image -> the seed images that took it."""
    return {n: [int(c["seed_id"][:16], 16) for c in json.loads(row["chosen_by"]) if c["mode"] == "sample"]
            for n, row in rows.items() if "drop_reason" not in row}  # fmt: skip


def sampling(collisions: str, **plan) -> SelectionConfig:
    return SelectionConfig(collisions=collisions, seeds=(SeedPlan(name="a", mode=("sample",), **plan),))


SEEDS = {n: {"sets": ["seed:a"]} for n in (20, 21, 22)}
PICTURES = {n: {} for n in range(1, 7)}
HITS: Hits = {
    20: [(1, 0.9), (2, 0.8), (3, 0.3)],
    21: [(1, 0.95), (2, 0.7), (4, 0.6)],
    22: [(2, 0.5), (5, 0.4), (6, 0.1)],
}


def test_keep_takes_the_k_nearest_of_each_and_weighs_what_is_hit_twice(store):
    rows = selected(store, sampling("keep", k=2), PICTURES | SEEDS, {"a": HITS})
    assert taken(rows) == {1: [20, 21], 2: [20, 21, 22], 5: [22]}
    assert {n: (rows[n]["hits"], rows[n]["weight"]) for n in (1, 2, 5)} == {1: (2, 2.0), 2: (3, 3.0), 5: (1, 1.0)}
    assert {rows[n]["drop_reason"] for n in (3, 4, 6)} == {"not_retrieved"}
    assert {rows[n]["drop_reason"] for n in SEEDS} == {"seed_only"}
    assert (rows[1]["seed_set"], rows[1]["mode"], rows[1]["seed_id"], rows[1]["cluster"]) == (
        "a",
        "sample",
        name(20),
        0,
    )
    assert rows[1]["similarity"] == pytest.approx(0.9)
    assert [c["rank"] for c in json.loads(rows[2]["chosen_by"])] == [2, 2, 1]


def test_next_unused_gives_each_its_nearest_that_nobody_has(store):
    # round 1: 21 takes 1 (0.95); 20 falls to 2 (0.8); 22 falls to 5. round 2: 21 takes 4, 20 takes 3, 22 takes 6
    rows = selected(store, sampling("next_unused", k=2), PICTURES | SEEDS, {"a": HITS})
    assert taken(rows) == {1: [21], 2: [20], 5: [22], 4: [21], 3: [20], 6: [22]}
    assert {rows[n]["weight"] for n in PICTURES} == {1.0}


def test_next_unused_of_one_each(store):
    assert taken(selected(store, sampling("next_unused", k=1), PICTURES | SEEDS, {"a": HITS})) == {
        1: [21],
        2: [20],
        5: [22],
    }


def test_next_unused_ends_where_the_neighbours_end(store):
    hits: Hits = {20: [(1, 0.9)], 21: [(1, 0.9), (2, 0.1)], 22: [(1, 0.2)]}
    rows = selected(store, sampling("next_unused", k=3), PICTURES | SEEDS, {"a": hits})
    assert taken(rows) == {1: [20], 2: [21]}  # of equal similarities the lower seed id


def test_two_sets_choose_one_image_each_for_itself(store):
    seeds = {20: {"sets": ["seed:a"]}, 30: {"sets": ["seed:b"]}}
    plans = tuple(SeedPlan(name=n, mode=("sample",), k=1) for n in ("b", "a"))
    hits: dict[str, Hits] = {"a": {20: [(1, 0.9)]}, "b": {30: [(1, 0.8)]}}
    rows = selected(store, SelectionConfig(seeds=plans), PICTURES | seeds, hits)
    assert taken(rows) == {1: [30, 20]}  # in the order of the recipe
    assert (rows[1]["seed_set"], rows[1]["hits"], rows[1]["weight"]) == ("b", 2, 1.0)
    rows = selected(store, SelectionConfig(seeds=plans, collisions="keep"), PICTURES | seeds, hits)
    assert rows[1]["weight"] == 2.0


def test_as_is(store):
    plans = (SeedPlan(name="a", mode=("as_is",)), SeedPlan(name="b", mode=("sample",), k=1))
    images = {
        1: {"sets": ["pool", "seed:a"]},
        2: {"sets": ["seed:a"], "usable": False, "touches": name(9)},
        3: {"sets": ["seed:b"]},
        4: {},
    }
    rows = selected(store, SelectionConfig(seeds=plans), SEEDS | images, {"b": {3: [(1, 0.7)]}})
    assert {n for n, row in rows.items() if "drop_reason" not in row} == {1, 20, 21, 22}
    assert (rows[20]["mode"], rows[20]["similarity"], rows[20]["weight"], "seed_id" in rows[20]) == (
        "as_is",
        1.0,
        1.0,
        False,
    )
    assert (rows[1]["mode"], rows[1]["hits"]) == ("as_is", 2)
    assert [rows[n]["drop_reason"] for n in (2, 3, 4)] == ["protected_copy", "seed_only", "not_retrieved"]


def clustering(**plan) -> SelectionConfig:
    return SelectionConfig(seeds=(SeedPlan(name="a", mode=("cluster",), **plan),))


def in_cluster(cluster: int, ids: range, sets: list[str] = POOL) -> dict[int, dict]:
    return {n: {"cluster": cluster, "sets": sets, "similarity": 0.01 * n} for n in ids}


FOUR_AND_TWO = in_cluster(7, range(1, 11)) | in_cluster(8, range(11, 21)) | in_cluster(7, range(50, 54), ["seed:a"]) | (
    in_cluster(8, range(60, 62), ["seed:a"]) | in_cluster(8, range(70, 80), ["seed:b"]))  # fmt: skip


@pytest.mark.parametrize(("min_hits", "expected"), [(5, set()), (4, set(range(1, 11))), (2, set(range(1, 21)))])
def test_clusters_that_enough_seeds_hit(store, min_hits, expected):
    rows = selected(store, clustering(min_hits=min_hits), FOUR_AND_TWO)
    assert {n for n, row in rows.items() if "drop_reason" not in row} == expected
    for n in expected:
        assert (rows[n]["mode"], rows[n]["seed_set"], "seed_id" in rows[n]) == ("cluster", "a", False)
        assert rows[n]["similarity"] == pytest.approx(0.01 * n)


def test_per_cluster_and_cap(store):
    rows = selected(store, clustering(min_hits=2, per_cluster=4, cap=6), FOUR_AND_TWO)
    kept = {n for n, row in rows.items() if "drop_reason" not in row}
    assert len(kept) == 6
    assert all(len(kept & set(ids)) <= 4 for ids in (range(1, 11), range(11, 21)))
    capped = [row for row in rows.values() if row.get("drop_reason") == "over_cap"]
    over = [(row["drop_score"], row["drop_limit"]) for row in capped]
    assert sorted(over) == sorted([(float(p), 4.0) for p in range(5, 11)] * 2 + [(7.0, 6.0), (8.0, 6.0)])


def test_the_draw_is_fair_and_of_the_seed(store):
    draws = []
    for seed in (0, 0, 1):
        plan = SeedPlan(name="a", mode=("cluster",), min_hits=4, per_cluster=5)
        rows = selected(store, SelectionConfig(seeds=(plan,), seed=seed), FOUR_AND_TWO)
        draws.append({n for n, row in rows.items() if "drop_reason" not in row})
    assert draws[0] == draws[1] != draws[2]
    assert draws[0] != set(range(1, 6))


def test_an_image_that_one_set_capped_may_be_chosen_by_another(store):
    one = SeedPlan(name="a", mode=("cluster",), min_hits=4, cap=1)
    two = SeedPlan(name="b", mode=("sample",), k=1)
    hits: dict[str, Hits] = {"b": {70 + n: [(n, 0.5)] for n in range(1, 10)}}
    rows = selected(store, SelectionConfig(seeds=(one, two)), FOUR_AND_TWO, hits)
    assert all("drop_reason" not in rows[n] for n in range(1, 10))
    assert all(rows[n]["drop_reason"] == "not_retrieved" for n in range(11, 21))


def test_unusable_images_are_not_drawn_but_unusable_seeds_count(store):
    unusable = {
        1: FOUR_AND_TWO[1] | {"usable": False, "touches": name(9)},
        50: FOUR_AND_TWO[50] | {"usable": False, "touches": name(9)},
    }
    rows = selected(store, clustering(min_hits=4), FOUR_AND_TWO | unusable)
    assert rows[1]["drop_reason"] == rows[50]["drop_reason"] == "protected_copy"
    assert {n for n, row in rows.items() if "drop_reason" not in row} == set(range(2, 11))


def test_no_seed_sets_choose_nothing(store):
    assert {row["drop_reason"] for row in selected(store, SelectionConfig(), PICTURES).values()} == {"not_retrieved"}
    assert {r["drop_reason"] for r in selected(store, clustering(), {1: {}, 2: {}}).values()} == {"not_retrieved"}


@pytest.mark.parametrize("wrong", [{"mode": ("sampel",)}, {"k": 0}, {"min_hits": 0}, {"per_cluster": 0}, {"cap": 0}])
def test_wrong_plans_are_named(wrong):
    with pytest.raises(ValueError, match=f"seed set a: {next(iter(wrong))}"):
        SeedPlan(name="a", **wrong)


def test_wrong_collision_rule_is_named():
    with pytest.raises(ValueError, match='collisions = "first" is neither'):
        SelectionConfig(collisions="first")


def test_a_seed_whose_copy_represents_it_asks_but_is_not_chosen(store):
    images = {1: {"sets": ["pool", "seed:a"], "usable": False}, 2: {}}
    rows = selected(store, sampling("keep", k=1), images, {"a": {1: [(2, 0.9)]}})
    assert (rows[1]["drop_reason"], rows[2]["seed_id"]) == ("copy", name(1))


TREE = (0, 0, 1)  # clusters 0 and 1 are of one concept, 2 of another
HEAPS = in_cluster(0, range(1, 21)) | in_cluster(1, range(21, 24)) | in_cluster(2, range(24, 32))


def drawn(rows: dict[int, dict]) -> list[int]:
    """Times that images of each cluster of HEAPS were drawn."""
    times = {n: row["hits"] if "drop_reason" not in row else 0 for n, row in rows.items()}
    return [sum(times[n] for n in heap) for heap in (range(1, 21), range(21, 24), range(24, 32))]


def test_a_balanced_draw_shares_evenly_over_the_tree(store):
    rows = selected(store, SelectionConfig(balanced=14), HEAPS, parents=TREE)
    assert drawn(rows) == [4, 3, 7]
    one = next(row for row in rows.values() if "drop_reason" not in row)
    assert (one["seed_set"], one["mode"], one["hits"], one["weight"]) == ("balanced", "balanced", 1, 1.0)
    left = {(row["cluster"], row["drop_score"], row["drop_limit"]) for row in rows.values() if "drop_reason" in row}
    assert left == {(0, 20.0, 4.0), (2, 8.0, 7.0)}
    assert {row.get("drop_reason") for row in rows.values()} == {None, "not_drawn"}


def test_a_balanced_draw_with_repeats_weighs_them(store):
    rows = selected(store, SelectionConfig(balanced=30, repeats=2, weight=0.5), HEAPS, parents=TREE)
    assert drawn(rows) == [9, 6, 15]
    assert {rows[n]["weight"] for n in range(21, 24)} == {1.0}
    assert sorted(rows[n]["weight"] for n in range(24, 32)) == [0.5] + 7 * [1.0]


def test_a_balanced_draw_takes_only_usable_images_of_the_pool(store):
    images = HEAPS | {1: {"usable": False}, 24: {"cluster": 2, "sets": ["seed:a"]}, 25: {"cluster": None}}
    rows = selected(store, SelectionConfig(balanced=1000), images, parents=TREE)
    assert {n: rows[n]["drop_reason"] for n in (1, 24, 25)} == {1: "copy", 24: "seed_only", 25: "not_drawn"}
    assert sum("drop_reason" not in row for row in rows.values()) == 28


def test_the_same_images_are_drawn_however_the_pool_is_cut(store, tmp_path):
    cfg = SelectionConfig(balanced=9, seed=5)
    first = selected(store, cfg, HEAPS, parents=TREE)
    again = selected(Store(str(tmp_path / "other")), cfg, dict(reversed(HEAPS.items())), parents=TREE)
    assert {n for n, row in first.items() if "mode" in row} == {n for n, row in again.items() if "mode" in row}


@pytest.mark.parametrize(("collisions", "expected"), [("next_unused", 3.0), ("keep", 5.0)])
def test_weights_of_components(store, collisions, expected):
    """An image that set a (weight 3) and the draw (weight 1, twice) both take."""
    plan = SeedPlan(name="a", mode=("sample",), k=1, weight=3.0)
    cfg = SelectionConfig(collisions=collisions, seeds=(plan,), balanced=2, repeats=2)
    rows = selected(store, cfg, {1: {}, 20: {"sets": ["seed:a"]}}, {"a": {20: [(1, 0.9)]}}, parents=(0,))
    assert (rows[1]["seed_set"], rows[1]["hits"], rows[1]["weight"]) == ("a", 3, expected)


@pytest.mark.parametrize("wrong", [{"balanced": -1}, {"repeats": 0}, {"weight": 0.0}])
def test_wrong_balances_are_named(wrong):
    with pytest.raises(ValueError, match="balanced is 0 or more"):
        SelectionConfig(**wrong)
    with pytest.raises(ValueError, match="no seed set may be called balanced"):
        SeedPlan(name="balanced")
    with pytest.raises(ValueError, match="weight must be above 0"):
        SeedPlan(name="a", weight=-1.0)
