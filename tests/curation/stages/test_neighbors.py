"""neighbors: what every seed image is shown of the pool."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from curation import copy_records, index, records
from curation.index import inverted
from curation.stages import neighbors
from curation.stages.neighbors import NeighborsConfig, build, index_file, plan, plan_shards, retrieve
from curation.store import Store
from tests.curation.making import POOL, name, put, put_vectors, turned, unit_rows


def retrieved(store: Store, images: dict[int, tuple[float, dict]], cfg: NeighborsConfig, per_part: int = 2) -> dict:
    names = list(images)
    for part, start in enumerate(range(0, len(names), per_part)):
        some = names[start : start + per_part]
        rows = [{"image_id": name(n), "sets": POOL, "usable": True, "group_size": 1} | images[n][1] for n in some]
        put(store, "survivors", rows, copy_records.SURVIVORS, part)
        put_vectors(store, "embeddings", {n: turned(images[n][0]) for n in some}, part)
    return searched(store, cfg)


def searched(store: Store, cfg: NeighborsConfig) -> dict:
    """What `neighbors` finds by what `indexes` makes."""
    inputs = {noun: store.parts(noun) for noun in ("embeddings", "survivors")}
    for part in plan_shards(inputs, cfg):
        store.write_part("indexes", part, build(part, inputs, cfg), "test")
    inputs["indexes"] = store.parts("indexes")
    tables = [retrieve(part, inputs, cfg) for part in plan(inputs, cfg)]
    assert tables
    found: dict[tuple[str, int], list[int]] = {}
    for table in tables:
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


SEEDS, ROWS, DIM = 3600, 6000, 16


@pytest.fixture
def crowd(store, monkeypatch) -> Store:
    """A run of 6 parts, each with pool images around 60 middles and seeds of two sets: enough to build something for."""
    monkeypatch.setattr(inverted, "LEAST_ROWS", 1000)
    chance, middles = np.random.default_rng(0), unit_rows(60, DIM, 1)
    total = ROWS + SEEDS
    x = middles[chance.integers(0, 60, total)] + 0.5 * unit_rows(total, DIM, 2)
    sets = [POOL if n < ROWS else ["seed:a"] if n % 3 else ["seed:b", "pool"] for n in chance.permutation(total)]
    for part, numbers in enumerate(np.array_split(np.arange(total), 6)):
        rows = [{"image_id": name(n), "sets": sets[n], "usable": bool(n % 11), "group_size": 1} for n in numbers.tolist()]
        put(store, "survivors", rows, copy_records.SURVIVORS, part)
        put_vectors(store, "embeddings", {n: x[n] for n in numbers.tolist()}, part)
    return store


def wide(**more: object) -> NeighborsConfig:
    return NeighborsConfig(**{"depth": 2, "k": (("a", 3), ("b", 2)), "recall": 0.9} | more)


@pytest.mark.parametrize(("memory", "kind", "shards"), [(1.0, "ivf_flat", 1), (0.00007, "ivf_pq", 2)])
def test_an_index_finds_what_looking_at_all_finds(crowd, memory, kind, shards):
    exact = searched(crowd, wide(recall=1.0))
    assert not crowd.fs.exists(crowd.path("indexes", index_file(0)))
    found = searched(crowd, wide(memory_gib=memory))
    rows = crowd.parts("indexes").whole().to_pylist()
    assert [(row["shard"], row["seed_set"], row["kind"]) for row in rows] == [(n, s, kind) for n in range(shards) for s in "ab"]
    assert sum(row["rows"] for row in rows if row["seed_set"] == "a") == ROWS + SEEDS - sum(
        row["sets"] == ["seed:a"] or not row["usable"] for row in crowd.parts("survivors").whole().to_pylist()
    )
    for row in rows:
        data = crowd.read_bytes("indexes", index_file(row["shard"]))
        assert (len(data), hashlib.sha256(data).hexdigest()) == (row["bytes"], row["sha256"])
        assert row["recall"] >= 0.9
    assert found.keys() == exact.keys()
    assert {asker: len(hits) for asker, hits in found.items()} == {asker: len(hits) for asker, hits in exact.items()}
    same = [len(set(found[asker]) & set(hits)) / len(hits) for asker, hits in exact.items()]
    assert np.mean(same) >= 0.9


def test_what_is_found_does_not_depend_on_the_blocks(crowd, monkeypatch):
    whole = searched(crowd, wide())
    monkeypatch.setattr(neighbors, "QUERIES", 100)
    inputs = {noun: crowd.parts(noun) for noun in ("embeddings", "survivors")}
    assert len(plan(inputs, wide())) > 6
    assert searched(crowd, wide()) == whole


def test_a_set_that_no_setting_serves_is_looked_at_whole(crowd, monkeypatch):
    exact = searched(crowd, wide(recall=1.0))
    best = index.setting
    monkeypatch.setattr(index, "setting", lambda *args: best(*args) if args[2][0].shape[1] == 7 else None)  # not for b
    found = searched(crowd, wide())
    rows = {row["seed_set"]: row for row in crowd.parts("indexes").whole().to_pylist()}
    assert (rows["a"]["kind"], rows["b"]["kind"], rows["b"]["bytes"], rows["b"]["recall"]) == ("ivf_flat", "flat", None, None)
    assert {a: hits for a, hits in found.items() if a[0] == "b"} == {a: hits for a, hits in exact.items() if a[0] == "b"}


def test_an_earlier_receipt_does_not_vouch_for_a_new_file(crowd, monkeypatch):
    searched(crowd, wide())
    monkeypatch.setattr(index, "write", lambda *_: 1 / 0)  # as if killed while it writes
    inputs = {noun: crowd.parts(noun) for noun in ("embeddings", "survivors")}
    with pytest.raises(ZeroDivisionError):
        build(0, inputs, wide(depth=1))
    assert crowd.receipts("indexes") == {}
    assert not crowd.fs.exists(crowd.path("indexes", index_file(0)))


@pytest.mark.parametrize(("field", "value"), [("depth", 0), ("memory_gib", 0.0), ("recall", 0.0), ("recall", 1.1)])
def test_a_limit_that_cannot_be_meant(field, value):
    with pytest.raises(ValueError, match=field):
        NeighborsConfig(**{field: value})
