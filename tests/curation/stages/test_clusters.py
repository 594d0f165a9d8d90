"""clusters: centroids of the pool alone, and every image's nearest."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from curation import cuts, records
from curation.stage import PlannedStage
from curation.stages import centroids as fits
from curation.stages.centroids import ClustersConfig
from curation.stages.clusters import assign, centroid_matrix
from curation.store import Store
from tests.curation.making import POOL, image_row, name, put, put_vectors, run, turned, unit_rows


def world(store: Store, images: dict[int, tuple[float, list[str]]], per_part: int = 7) -> None:
    names = list(images)
    for part, start in enumerate(range(0, len(names), per_part)):
        some = names[start : start + per_part]
        put(store, "images", [image_row(n, images[n][1]) for n in some], records.IMAGES, part)
        put_vectors(store, "embeddings", {n: turned(images[n][0]) for n in some}, part)


def fitted(store: Store, cfg: ClustersConfig) -> pa.Table:
    """records.CENTROIDS, made round by round without workers."""
    number = -1
    while number < 0 or not fits.ended(number, store):
        number += 1
        for stage in fits.rounds(number):
            made(store, stage, cfg)
    for stage in fits.last(number):
        made(store, stage, cfg)
    table = store.part("centroids", 0)
    assert table.schema.equals(records.CENTROIDS)
    return table


def made(store: Store, stage: PlannedStage, cfg: ClustersConfig) -> None:
    inputs = {noun: store.parts(noun) for noun in stage.consumes}
    numbers = stage.plan(inputs, cfg)
    for number in reversed(numbers):  # in any order
        store.write_part(stage.name, number, stage.fn(number, inputs, cfg), "test")
    store.trim(stage.name, set(numbers))


THREE = {n: ((0, 120, 240)[n % 3] + n % 5, POOL) for n in range(30)}


def test_three_bunches_are_three_clusters(store):
    world(store, THREE | {n: (60.0, ["seed:s"]) for n in range(100, 120)})  # seeds do not pull
    table = fitted(store, ClustersConfig(k=3))
    assert table["cluster"].to_pylist() == [0, 1, 2]
    assert table["images"].to_pylist() == [10, 10, 10]
    angles = sorted(round(np.degrees(np.arctan2(y, x)) % 360) for x, y in table["centroid"].to_pylist())
    assert angles == [2, 122, 242]


@pytest.mark.parametrize(("pool", "k", "expected"), [(16, 0, 8), (30, 0, 11), (1, 0, 1), (4, 100, 4)])
def test_how_many_clusters(store, pool, k, expected):
    world(store, {n: (7.0 * n, POOL) for n in range(pool)})
    assert fitted(store, ClustersConfig(k=k)).num_rows == expected


def test_no_pool_no_clusters(store):
    world(store, {1: (0, ["seed:s"])})
    table = fitted(store, ClustersConfig())
    assert table.num_rows == 0
    embeddings = store.parts("embeddings").part(0)
    assigned = assign(embeddings, centroid_matrix(ClustersConfig(), {"centroids": table}), ClustersConfig())
    assert assigned.schema == records.CLUSTERS
    assert assigned.select(["cluster", "similarity", "drop_reason"]).to_pylist() == [
        {"cluster": None, "similarity": None, "drop_reason": None}
    ]


def test_a_large_pool_is_sampled_by_id(store, monkeypatch):
    monkeypatch.setattr(fits, "PER_CENTROID", 10)
    images = {n: (n * 0.3, POOL) for n in range(400)}
    world(store, images, 100)
    one = fitted(store, ClustersConfig(k=8))
    assert 40 <= sum(one["images"].to_pylist()) <= 120  # about 80 of 400
    world(store, images, 37)
    assert fitted(store, ClustersConfig(k=8)).equals(one)
    assert not fitted(store, ClustersConfig(k=8, seed=1)).equals(one)


def test_dropped_embeddings_do_not_count(store):
    world(store, {1: (0, POOL), 2: (90, POOL)})
    rows = store.parts("embeddings").part(0).to_pylist()
    put(store, "embeddings", [rows[0], rows[1] | {"drop_reason": "truncated"}], records.embeddings(2))
    assert fitted(store, ClustersConfig(k=2)).num_rows == 1


def test_every_image_gets_its_nearest_centroid(store):
    world(store, {n: (a, POOL) for n, a in enumerate((5.0, 80.0, 100.0, 180.0))})
    centroids = np.array([turned(0), turned(90), turned(180)], np.float32)
    rows = [{"cluster": n, "images": 1, "centroid": c.tolist(), "level": 1} for n, c in enumerate(centroids)]
    side = {"centroids": pa.Table.from_pylist(rows, schema=records.CENTROIDS)}
    table = assign(store.parts("embeddings").part(0), centroid_matrix(ClustersConfig(), side), ClustersConfig())
    assert table.schema == records.CLUSTERS
    assert table["image_id"].to_pylist() == [name(n) for n in range(4)]
    assert table["cluster"].to_pylist() == [0, 1, 1, 2]
    expected = np.cos(np.radians([5, 10, 10, 0]))
    np.testing.assert_allclose(table["similarity"].to_numpy(), expected, atol=1e-3)


def test_a_large_sample_is_fitted_pass_by_pass(store):
    world(store, THREE)
    alone = fitted(store, ClustersConfig(k=3))
    together = fitted(store, ClustersConfig(k=3, alone_rows=10))
    assert together["images"].to_pylist() == [10, 10, 10]
    for table in (alone, together):
        angles = sorted(round(np.degrees(np.arctan2(y, x)) % 360) for x, y in table["centroid"].to_pylist())
        assert angles == [2, 122, 242]


def test_how_it_went_is_told(store):
    world(store, THREE)
    fitted(store, ClustersConfig(k=3, alone_rows=10))
    ((_, table),) = run(fits.tell, store, ["centroids"], ClustersConfig())
    rows = table.to_pylist()
    assert [row["pass"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[0]["moved"] == 30
    assert rows[-1]["empties"] == 0
    assert {row["images"] for row in rows} == {30}
    assert 0.99 < rows[-1]["objective"] <= 1


@pytest.mark.parametrize("lot_rows", [40, 10_000])
def test_a_level_in_two_stages_is_about_as_good_as_one(store, monkeypatch, lot_rows):
    monkeypatch.setattr(cuts, "LOT_ROWS", lot_rows)
    x = unit_rows(600, 6, 1)
    for part in range(4):
        some = range(part * 150, part * 150 + 150)
        put(store, "images", [image_row(n, POOL) for n in some], records.IMAGES, part)
        put_vectors(store, "embeddings", {n: x[n] for n in some}, part)
    found = dict[int, pa.Table]()
    for split in (1, 8):
        found[split] = fitted(store, ClustersConfig(k=60, split=split))
    one, two = (np.array(table["centroid"].to_pylist()) for table in found.values())
    assert len(one) == 60
    assert 55 <= len(two) <= 64
    assert found[8]["cluster"].to_pylist() == list(range(len(two)))
    assert sum(found[8]["images"].to_pylist()) == 600
    near = [(x @ c.T).max(axis=1).mean() for c in (one, two)]
    assert near[1] > 1 - 1.15 * (1 - near[0])


def test_levels_above_one_in_two_stages(store):
    world(store, {n: (7.0 * n, POOL) for n in range(40)})
    table = fitted(store, ClustersConfig(levels=(12, 4), split=3))
    fine = table.filter(pc.equal(table["level"], 1))
    assert fine.num_rows <= 12
    assert set(fine["parent"].to_pylist()) == {0, 1, 2, 3}


def test_levels_are_clusters_of_clusters(store):
    world(store, {n: ((0, 120, 240)[n % 3] + 3.0 * (n % 7), POOL) for n in range(63)}, 20)
    table = fitted(store, ClustersConfig(levels=(9, 3)))
    rows = table.to_pylist()
    assert [row["level"] for row in rows] == [1] * 9 + [2] * 3
    assert {row["parent"] for row in rows[:9]} == {0, 1, 2}
    assert {row["parent"] for row in rows[9:]} == {None}
    assert [row["images"] for row in rows[9:]] == [21, 21, 21]
    assert centroid_matrix(ClustersConfig(), {"centroids": table}).shape == (9, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"levels": (3, 9)}, "finest first"), ({"levels": (3,), "k": 3}, "k or levels"), ({"iterations": 0}, "1 or more")],
)
def test_a_config_that_cannot_be_meant(values, message):
    with pytest.raises(ValueError, match=message):
        ClustersConfig(**values)
