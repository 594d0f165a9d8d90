"""survivors: copies in the plane, where the angle between two images is their difference."""

from __future__ import annotations

import math

import pytest

from curation import copy_records, records
from curation.stages.edges import EdgesConfig
from curation.stages.survivors import SurvivorsConfig, judge
from tests.curation.making import POOL, by_id, image_row, name, put, put_vectors, run, turned
from tests.curation.pairing import find_pairs

SELF, REFERENCE = math.cos(math.radians(10.5)), math.cos(math.radians(20.5))
CFG = SurvivorsConfig(confirm=0, self_similarity=SELF, reference_similarity=REFERENCE)
SEED, PROTECTED = ["seed:s"], ["protect:v"]


def looked_for(cfg: SurvivorsConfig, bunch_rows: int = 65_536) -> EdgesConfig:
    thresholds = {"self_similarity": cfg.self_similarity, "reference_similarity": cfg.reference_similarity}
    return EdgesConfig(as_is=cfg.as_is, k=cfg.k, bunch_rows=bunch_rows, **thresholds)


def judged(
    store, world: dict[int, tuple[float, list[str], dict]], cfg=CFG, per_part: int = 3, bunch_rows: int = 65_536
) -> dict[str, dict]:
    """world: image -> (angle, sets, facts). Returns the verdicts by id."""
    names = list(world)
    for part, start in enumerate(range(0, len(names), per_part)):
        some = names[start : start + per_part]
        put(store, "images", [image_row(n, world[n][1], **world[n][2]) for n in some], records.IMAGES, part)
        put_vectors(store, "descriptors", {n: turned(world[n][0]) for n in some}, part)
    for part, table in find_pairs(store, looked_for(cfg, bunch_rows)):
        store.write_part("edges", part, table, "test")
    parts = run(judge, store, ["descriptors", "edges", "images"], cfg)
    assert [n for n, _ in parts] == store.parts("descriptors").numbers
    assert all(table.schema == copy_records.SURVIVORS for _, table in parts)
    return by_id(parts)


def reasons(rows: dict[str, dict]) -> dict[int, str]:
    return {int(i[:16], 16): row["drop_reason"] for i, row in rows.items() if "drop_reason" in row}


@pytest.mark.parametrize("bunch_rows", [65_536, 3])
def test_of_a_chain_of_copies_the_best_stays(store, bunch_rows):
    world = {n: (10.0 * n, POOL, {}) for n in range(1, 5)} | {9: (90.0, POOL, {})}
    world[3] = (30.0, POOL, {"width": 200})
    rows = judged(store, world, bunch_rows=bunch_rows)
    assert reasons(rows) == {1: "copy", 2: "copy", 4: "copy"}
    assert {(rows[name(n)]["group_id"], rows[name(n)]["group_size"]) for n in range(1, 5)} == {(name(3), 4)}
    alone = rows[name(9)]
    assert ("group_id" in alone, alone["group_size"], alone["usable"]) == (False, 1, True)
    assert all(rows[name(n)]["drop_cause"] == name(3) for n in (1, 2, 4))
    assert rows[name(2)]["drop_score"] == pytest.approx(math.cos(math.radians(10)), abs=2e-3)  # to the one kept
    assert rows[name(1)]["drop_score"] == pytest.approx(math.cos(math.radians(10)), abs=2e-3)  # strongest it has
    assert rows[name(1)]["drop_limit"] == pytest.approx(SELF)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ({"width": 300}, {"height": 200}, 1),
        ({}, {"height": 200, "length": 1}, 2),
        ({"length": 5}, {"length": 6}, 2),
        ({}, {}, 1),
    ],
    ids=["pixels", "pixels before bytes", "bytes", "lowest id"],
)
def test_who_stands_for_a_group(store, first, second, kept):
    rows = judged(store, {2: (0, POOL, second), 1: (5, POOL, first)})
    assert reasons(rows) == {3 - kept: "copy"}


def test_an_as_is_seed_wins_and_stays_whatever_its_size(store):
    cfg = SurvivorsConfig(confirm=0, self_similarity=SELF, reference_similarity=REFERENCE, as_is=("s",))
    rows = judged(store, {1: (0, POOL, {"width": 999}), 2: (5, SEED, {"width": 50}), 3: (8, SEED, {})}, cfg)
    assert reasons(rows) == {1: "copy"}
    assert rows[name(1)]["drop_cause"] == name(3)  # the larger of the two seeds


def test_other_seeds_do_not_swallow_pool_images(store):
    rows = judged(store, {1: (0, POOL, {}), 2: (5, SEED, {"width": 999}), 3: (0, SEED, {})})
    assert reasons(rows) == {}
    assert all(row["usable"] and row["group_size"] == 1 for row in rows.values())


def test_a_group_that_touches_a_protected_image_goes_whole(store):
    # 1-2-3 are copies of each other; only 3 is near the protected 8; 4 is far
    world = {n: (10.0 * n, POOL, {}) for n in (1, 2, 3)} | {4: (80.0, POOL, {}), 8: (48.0, PROTECTED, {})}
    rows = judged(store, world)
    assert reasons(rows) == {1: "protected_copy", 2: "protected_copy", 3: "protected_copy", 8: "protected_set"}
    assert {rows[name(n)]["drop_cause"] for n in (1, 2, 3)} == {name(8)}
    assert rows[name(3)]["drop_score"] == pytest.approx(math.cos(math.radians(18)), abs=2e-3)
    assert rows[name(3)]["drop_limit"] == pytest.approx(REFERENCE)
    assert [rows[name(n)]["usable"] for n in (1, 4, 8)] == [False, True, False]


def test_the_reference_threshold_does_not_chain_the_pool(store):
    # both are near the protected image, 3 is near 2 only at the reference threshold
    rows = judged(store, {1: (0, POOL, {}), 8: (15, PROTECTED, {}), 2: (30, POOL, {}), 3: (45, POOL, {})})
    assert reasons(rows) == {1: "protected_copy", 2: "protected_copy", 8: "protected_set"}
    assert rows[name(2)]["group_size"] == 1


def test_the_same_bytes_in_the_pool_and_a_protected_set(store):
    rows = judged(store, {1: (0, ["pool", "protect:v"], {}), 2: (18, POOL, {}), 3: (60, POOL, {})})
    assert reasons(rows) == {1: "protected_copy", 2: "protected_copy"}
    assert (rows[name(1)]["drop_cause"], rows[name(1)]["drop_score"]) == (name(1), 1.0)


@pytest.mark.parametrize("as_is", [(), ("s",)])
def test_seeds_that_touch_a_protected_image_stay_to_ask_but_not_to_be_chosen(store, as_is):
    cfg = SurvivorsConfig(confirm=0, self_similarity=SELF, reference_similarity=REFERENCE, as_is=as_is)
    world = {1: (0, SEED, {}), 2: (90, [*SEED, *PROTECTED], {}), 3: (45, SEED, {}), 8: (15, PROTECTED, {})}
    rows = judged(store, world, cfg)
    assert reasons(rows) == {8: "protected_set"}
    assert [rows[name(n)]["usable"] for n in (1, 2, 3)] == [False, False, True]


def test_thresholds_have_to_come_from_somewhere(store):
    put(store, "images", [image_row(1)], records.IMAGES)
    put_vectors(store, "descriptors", {1: (1, 0)})
    with pytest.raises(ValueError, match="no calibrated thresholds"):
        find_pairs(store, EdgesConfig())
    with pytest.raises(ValueError, match="reference_similarity is a cosine"):
        SurvivorsConfig(confirm=0, reference_similarity=45)


def test_dropped_descriptors_take_no_part(store):
    put(store, "images", [image_row(1), image_row(2)], records.IMAGES)
    table = records.descriptors(2)
    rows = [{"image_id": name(n), "descriptor": [1.0, 0.0]} for n in (1, 2)]
    put(store, "descriptors", [rows[0], rows[1] | {"drop_reason": "truncated"}], table)
    ((_, found), _) = find_pairs(store, looked_for(CFG))
    store.write_part("edges", 0, found, "test")
    assert found.num_rows == 0
    assert list(by_id(run(judge, store, ["descriptors", "edges", "images"], CFG))) == [name(1)]


def test_pairs_are_believed_from_a_sum_on(store):
    put(store, "images", [image_row(n) for n in (1, 2, 3, 4)], records.IMAGES)
    put_vectors(store, "descriptors", {n: turned(90.0 * n) for n in (1, 2, 3, 4)})
    pairs = [(1, 2, 0.9, 0.74), (3, 4, 0.9, 0.72)]
    rows = [{"a": name(a), "b": name(b), "similarity": s, "agreement": g} for a, b, s, g in pairs]
    put(store, "edges", rows, copy_records.EDGES)
    cfg = SurvivorsConfig(confirm=1.63, self_similarity=0.8, reference_similarity=0.8)
    assert reasons(by_id(run(judge, store, ["descriptors", "edges", "images"], cfg))) == {2: "copy"}


def test_a_protected_set_may_have_a_threshold_of_its_own(store):
    strict = (("v", math.cos(math.radians(30.5))),)
    cfg = SurvivorsConfig(confirm=0, self_similarity=SELF, reference_similarity=REFERENCE, protect=strict)
    world = {1: (0, POOL, {}), 2: (180, POOL, {}), 8: (28, PROTECTED, {}), 9: (208, ["protect:w"], {})}
    wider = SurvivorsConfig(confirm=0, self_similarity=SELF, reference_similarity=strict[0][1])
    assert looked_for(wider).reference_similarity == strict[0][1]
    for part, start in enumerate((0, 2)):
        names = list(world)[start : start + 2]
        put(store, "images", [image_row(n, world[n][1]) for n in names], records.IMAGES, part)
        put_vectors(store, "descriptors", {n: turned(world[n][0]) for n in names}, part)
    for part, table in find_pairs(store, looked_for(wider)):
        store.write_part("edges", part, table, "test")
    rows = by_id(run(judge, store, ["descriptors", "edges", "images"], cfg))
    assert reasons(rows) == {1: "protected_copy", 8: "protected_set", 9: "protected_set"}
    assert rows[name(1)]["drop_limit"] == pytest.approx(strict[0][1])


def test_the_edge_that_tied_an_image_is_named_where_it_has_none_to_the_kept(store):
    rows = judged(store, {n: (10.0 * n, POOL, {}) for n in range(1, 5)})
    assert ["via" in rows[name(n)] for n in range(1, 5)] == [False, False, True, True]
    assert rows[name(4)]["via"] == name(3)
    assert rows[name(3)]["via"] in (name(2), name(4))
    assert rows[name(4)]["via_similarity"] == pytest.approx(math.cos(math.radians(10)), abs=2e-3)


def test_a_chain_falls_apart_on_request(store):
    cfg = SurvivorsConfig(confirm=0, self_similarity=SELF, reference_similarity=REFERENCE, split="representative")
    rows = judged(store, {n: (10.0 * n, POOL, {}) for n in range(1, 7)}, cfg)
    assert reasons(rows) == {2: "copy", 4: "copy", 6: "copy"}  # 1 takes 2; 3 takes 4; 5 takes 6
    assert [rows[name(n)]["drop_cause"] for n in (2, 4, 6)] == [name(1), name(3), name(5)]
    assert all("via" not in row for row in rows.values())
    with pytest.raises(ValueError, match="split is one of"):
        SurvivorsConfig(split="half")


def test_pairs_that_share_enough_keypoints_are_believed_whatever_their_sum(store):
    put(store, "images", [image_row(n) for n in (1, 2, 3, 4)], records.IMAGES)
    put_vectors(store, "descriptors", {n: turned(90.0 * n) for n in (1, 2, 3, 4)})
    pairs = [(1, 2, 0.85, None, 12), (3, 4, 0.85, 0.1, 11)]
    names = ("similarity", "agreement", "shared")
    put(
        store,
        "edges",
        [{"a": name(a), "b": name(b)} | dict(zip(names, rest, strict=True)) for a, b, *rest in pairs],
        copy_records.EDGES,
    )
    for shared, copies in ((12, {2: "copy"}), (0, {}), (11, {2: "copy", 4: "copy"})):
        cfg = SurvivorsConfig(confirm=1.63, shared=shared, self_similarity=0.8, reference_similarity=0.8)
        assert reasons(by_id(run(judge, store, ["descriptors", "edges", "images"], cfg))) == copies
