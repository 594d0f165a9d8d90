"""neighbors: what every seed image is shown of the pool."""

from __future__ import annotations

import pytest

from curation import copy_records, records
from curation.stages import neighbors
from curation.stages.neighbors import NeighborsConfig, plan, retrieve
from curation.store import Store
from tests.curation.making import POOL, name, put, put_vectors, turned


def retrieved(store: Store, images: dict[int, tuple[float, dict]], cfg: NeighborsConfig, per_part: int = 2) -> dict:
    names = list(images)
    for part, start in enumerate(range(0, len(names), per_part)):
        some = names[start : start + per_part]
        rows = [{"image_id": name(n), "sets": POOL, "usable": True, "group_size": 1} | images[n][1] for n in some]
        put(store, "survivors", rows, copy_records.SURVIVORS, part)
        put_vectors(store, "embeddings", {n: turned(images[n][0]) for n in some}, part)
    inputs = {noun: store.parts(noun) for noun in ("embeddings", "survivors")}
    parts = [(part, retrieve(part, inputs, cfg)) for part in plan(inputs, cfg)]
    assert parts
    found: dict[tuple[str, int], list[int]] = {}
    for _, table in parts:
        assert table.schema == records.NEIGHBORS
        for row in table.to_pylist():
            hits = found.setdefault((row["seed_set"], int(row["seed_id"][:16], 16)), [])
            hits.append(int(row["image_id"][:16], 16))
            assert row["rank"] == len(hits)
    return found


POOL_AT = {n: (10.0 * n, {}) for n in range(1, 7)}  # image n at 10 n degrees
SEED = {"sets": ["seed:a"]}


@pytest.mark.parametrize("queries", [65_536, 1])
def test_the_nearest_pool_images_in_order(store, queries, monkeypatch):
    monkeypatch.setattr(neighbors, "QUERIES", queries)
    images = POOL_AT | {20: (12.0, SEED), 21: (57.0, SEED), 22: (33.0, {"sets": ["seed:b"]})}
    found = retrieved(store, images, NeighborsConfig(depth=1, k=(("a", 3), ("b", 2))))
    assert found == {("a", 20): [1, 2, 3], ("a", 21): [6, 5, 4], ("b", 22): [3, 4]}


def test_depth_is_a_multiple_of_k_and_ends_with_the_pool(store):
    found = retrieved(store, POOL_AT | {20: (0.0, SEED)}, NeighborsConfig(depth=2, k=(("a", 2),)))
    assert found == {("a", 20): [1, 2, 3, 4]}
    found = retrieved(store, POOL_AT | {20: (0.0, SEED)}, NeighborsConfig(depth=4, k=(("a", 2),)))
    assert found == {("a", 20): [1, 2, 3, 4, 5, 6]}


def test_a_seed_image_is_not_its_own_neighbour(store):
    images = POOL_AT | {3: (30.0, {"sets": ["pool", "seed:a"]})}
    (nearest,) = retrieved(store, images, NeighborsConfig(depth=1, k=(("a", 2),))).values()
    assert sorted(nearest) == [2, 4]
    found = retrieved(store, images, NeighborsConfig(depth=1, k=(("a", 9),)))
    assert sorted(found["a", 3]) == [1, 2, 4, 5, 6]


def test_what_may_not_enter_the_manifest_is_not_found_but_may_ask(store):
    images = POOL_AT | {1: (10.0, {"usable": False}), 20: (0.0, SEED | {"usable": False})}
    assert retrieved(store, images, NeighborsConfig(depth=1, k=(("a", 2),))) == {("a", 20): [2, 3]}


def test_seeds_of_other_sets_are_not_found(store):
    images = {1: (10.0, {}), 20: (0.0, SEED), 21: (1.0, SEED), 22: (2.0, {"sets": ["seed:b"]})}
    assert retrieved(store, images, NeighborsConfig(k=(("a", 3),))) == {("a", 20): [1], ("a", 21): [1]}


@pytest.mark.parametrize("k", [(), (("nobody", 3),)])
def test_nobody_asks(store, k):
    assert retrieved(store, POOL_AT, NeighborsConfig(k=k)) == {}


def test_an_empty_pool_finds_nothing(store):
    assert retrieved(store, {20: (0.0, SEED)}, NeighborsConfig(k=(("a", 3),))) == {}


@pytest.mark.parametrize(("field", "value"), [("depth", 0), ("memory_gib", 0.0), ("recall", 0.0), ("recall", 1.1)])
def test_a_limit_that_cannot_be_meant(field, value):
    with pytest.raises(ValueError, match=field):
        NeighborsConfig(**{field: value})
