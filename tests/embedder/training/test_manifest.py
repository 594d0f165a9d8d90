"""Manifest: columns of numbers that say what the rows said, and errors that name what is wrong."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from embedder.training.manifest import ROWS, Ref, compact

IDS = [f"{number:032x}" for number in range(6)]
ROW = {
    "image_id": IDS,
    "uri": ["a.tar", "a.tar", "s3://b/c.jpg", "/d.parquet", "/d.parquet", "x::y"],
    "member": ["1.jpg", "2.jpg", None, "image.bytes", "image.bytes", None],
    "offset": [512, 2048, 0, 0, 7, None],
    "length": [10, 20, 30, 40, 50, None],
    "weight": [1.0, 1.0, 1.0, 1.0, 1.0, None],
    "seed_set": ["b", None, "a", "b", "b", "a"],
}


def rows(**changes) -> list[pa.RecordBatch]:
    return pa.table(ROW | changes).to_batches(max_chunksize=4)


def test_rows_are_kept_and_paths_below_the_run_made_whole():
    held = compact(iter(rows()), "/run", ["seed_set"])
    assert len(held) == 6
    assert held.keys(np.arange(6)) == IDS
    assert [held.ref(row) for row in range(6)] == [
        Ref("/run/a.tar", None, 512, 10),
        Ref("/run/a.tar", None, 2048, 20),
        Ref("s3://b/c.jpg", None, 0, 30),
        Ref("/d.parquet", "image.bytes", 0, 40),
        Ref("/d.parquet", "image.bytes", 7, 50),
        Ref("x::y", None, 0, None),
    ]
    assert held.weights_R is None
    codes, names = held.groups["seed_set"]
    assert [names[code] if code >= 0 else None for code in codes] == ROW["seed_set"]


def test_a_tar_is_named_once_and_its_members_not_at_all():
    many = {"image_id": [f"{n:032x}" for n in range(ROWS + 5)], "uri": ["one.tar"] * (ROWS + 5)}
    held = compact(iter(pa.table(many).to_batches()), "", [])
    assert len(held) == ROWS + 5
    assert len(held.ends_F) == 1
    assert held.ref(ROWS + 4) == Ref("one.tar", None, 0, None)


def test_more_files_than_are_remembered_keep_their_names():
    count = 3 * ROWS
    names = [f"/f/{n % (2 * ROWS)}.jpg" for n in range(count)]
    held = compact(iter(pa.table({"image_id": [f"{n:032x}" for n in range(count)], "uri": names}).to_batches()), "", [])
    assert [held.ref(row).uri for row in (0, ROWS, 2 * ROWS, count - 1)] == [
        names[row] for row in (0, ROWS, 2 * ROWS, count - 1)
    ]


def test_the_digest_follows_images_weights_and_order_but_not_where_they_lie():
    digest = compact(iter(rows()), "", []).digest
    assert compact(iter(rows(uri=["elsewhere.tar"] * 6)), "/other", []).digest == digest
    for change in ({"image_id": IDS[::-1]}, {"weight": [2.0, 1, 1, 1, 1, 1]}):
        assert compact(iter(rows(**change)), "", []).digest != digest


def test_the_digest_does_not_follow_how_rows_are_cut_into_batches():
    cuts = [compact(iter(pa.table(ROW).to_batches(max_chunksize=size)), "", ["seed_set"]).digest for size in (1, 4, 6)]
    assert len(set(cuts)) == 1


def test_weights_are_kept_and_a_missing_one_is_one():
    held = compact(iter(rows(weight=[0.5, 0, 3, 1, 1, None])), "", [])
    assert np.array_equal(held.weights_R, np.array([0.5, 0, 3, 1, 1, 1], np.float32))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_id": [*IDS[:5], "no"]}, "image_id has 32 hex characters, not 'no'"),
        ({"image_id": [*IDS[:5], "g" * 32]}, "not 'gggg"),
        ({"image_id": [*IDS[:5], None]}, "not None"),
        ({"uri": [*ROW["uri"][:5], None]}, "image 0{31}5 has no uri"),
        ({"weight": [1, 1, 1, 1, 1, -2]}, "weight of image 0{31}5 is -2"),
        ({"weight": [1, 1, 1, float("nan"), 1, 1]}, "weight of image 0{31}3 is nan"),
    ],
)
def test_rows_that_no_trainer_can_use_are_named(change, said):
    with pytest.raises(ValueError, match=said):
        compact(iter(rows(**change)), "", [])


def test_nothing_is_an_error():
    with pytest.raises(ValueError, match="no rows"):
        compact(iter([]), "", [])
