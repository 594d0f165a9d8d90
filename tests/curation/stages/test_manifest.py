"""manifest: the selected images in shards, and the bytes that go into them."""

from __future__ import annotations

import hashlib
import json

import pyarrow as pa
import pytest

from curation import records
from curation.stages.manifest import ManifestConfig, list_selected, pack
from tests.curation.making import by_id, clean_row, encoded, image_row, name, picture, put, run

CFG = ManifestConfig(shard_images=3)


def chosen(n: int, **more) -> dict:
    return {
        "image_id": name(n),
        "seed_set": "s",
        "mode": "sample",
        "seed_id": name(900),
        "weight": 1.0,
        "hits": 1,
    } | more


def test_shards_of_three_in_the_order_of_the_pool(store):
    for part, ids in enumerate([range(5), range(5, 6), range(6, 9)]):
        put(store, "images", [image_row(n, caption=f"c{n}") for n in reversed(ids)], records.IMAGES, part)
        put(store, "sanitized", [clean_row(n) for n in ids], records.SANITIZED, part)
        put(store, "selection", [chosen(n, drop_reason="not_retrieved" if n == 4 else None) for n in ids],
            records.SELECTION, part)  # fmt: skip
    parts = run(list_selected, store, ["selection", "sanitized", "images"], CFG)
    assert [n for n, _ in parts] == [0, 1, 2]
    assert all(table.schema == records.MANIFEST for _, table in parts)
    assert [t["image_id"].to_pylist() for _, t in parts] == [[name(n) for n in i] for i in ((0, 1, 2), (3, 5, 6), (7, 8))]
    assert [t["shard_key"].to_pylist() for _, t in parts][1:] == [["000010000", "000010001", "000010002"],
                                                                 ["000020000", "000020001"]]  # fmt: skip
    assert [set(t["shard"].to_pylist()) for _, t in parts] == [{"00000.tar"}, {"00001.tar"}, {"00002.tar"}]
    row = by_id(parts)[name(5)]
    assert (row["caption"], row["width"], row["mode"], row["weight"]) == ("c5", 100, "sample", 1.0)


@pytest.mark.parametrize("images", [3, 6])
def test_full_shards_leave_no_empty_one(store, images):
    put(store, "images", [image_row(n) for n in range(images)], records.IMAGES)
    put(store, "sanitized", [clean_row(n) for n in range(images)], records.SANITIZED)
    put(store, "selection", [chosen(n) for n in range(images)], records.SELECTION)
    parts = run(list_selected, store, ["selection", "sanitized", "images"], CFG)
    assert [t.num_rows for _, t in parts] == [3] * (images // 3)


def test_nothing_selected_is_one_empty_part(store):
    put(store, "images", [image_row(1)], records.IMAGES)
    put(store, "sanitized", [clean_row(1)], records.SANITIZED)
    put(store, "selection", [chosen(1, drop_reason="not_retrieved")], records.SELECTION)
    ((part, table),) = run(list_selected, store, ["selection", "sanitized", "images"], CFG)
    assert (part, table.num_rows, table.schema) == (0, 0, records.MANIFEST)


@pytest.mark.parametrize("images", [0, 10_001])
def test_shard_size_has_limits(images):
    with pytest.raises(ValueError, match="shard_images"):
        ManifestConfig(shard_images=images)


def packed(data: bytes | None, cfg: ManifestConfig = CFG, **facts) -> dict:
    digest = hashlib.sha256(b"pixels").hexdigest()
    row = image_row(1, sha256=digest, bytes_sha256=digest, key="a/b", shard="00000.tar", shard_key="000000007", format="BMP")
    row = {k: v for k, v in (row | facts).items() if k != "sets"}
    batch = pa.Table.from_pylist([row], schema=records.MANIFEST).append_column("bytes", pa.array([data], pa.binary()))
    (out,) = pack(batch, None, cfg).to_pylist()
    assert out["image_id"] == name(1)
    return out


def test_original_bytes_go_in_with_what_is_known():
    facts = {"seed_set": "s", "similarity": 0.5, "weight": 2.0, "caption": "a légende"}
    row = packed(b"pixels", sidecars='{"cls":"7","json":{"licence":"CC0"},"caption":"other"}', **facts)
    assert (row["drop_reason"], row["member"], row["length"], row["shard"]) == (None, "000000007.bmp", 6, "00000.tar")
    members = {m["name"]: m["data"] for m in row["members"]}
    assert next(iter(members)) == "000000007.bmp"
    assert members.pop("000000007.bmp") == b"pixels"
    told = json.loads(members.pop("000000007.json"))
    assert told["image_id"] == name(1)
    assert (told["key"], told["similarity"], told["weight"]) == ("a/b", 0.5, 2.0)
    assert told["sidecars"]["json"] == {"licence": "CC0"}
    assert "url" not in told
    expected = {"txt": "a légende", "cls": "7", "caption": "other"}
    assert members == {f"000000007.{suffix}": text.encode() for suffix, text in expected.items()}


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "jpg"), ("MPO", "jpg"), ("WEBP", "webp"), ("TIFF", "tif")])
def test_members_are_named_after_their_format(kind, suffix):
    row = packed(b"pixels", ManifestConfig(metadata="keep"), format=kind)
    assert row["member"] == f"000000007.{suffix}"
    assert [m["name"].rsplit(".")[-1] for m in row["members"]] == [suffix, "json"]
    assert "sidecars" not in json.loads(row["members"][1]["data"])


def test_missing_bytes_are_refused():
    row = packed(None)
    assert (row["drop_reason"], row["error_message"], row["members"]) == ("source_missing", "cannot read nowhere", [])
    assert (row["member"], row["sha256"]) == (None, None)


def test_changed_bytes_are_refused():
    row = packed(b"other pixels")
    assert (row["drop_reason"], row["error_message"], row["members"]) == ("source_changed", "nowhere has changed", [])
    assert row["sha256"] is None


def test_metadata_leaves_exported_bytes_and_the_digest_is_theirs():
    data = encoded(picture(3), "JPEG", comment=b"taken by me", quality=90)
    row = packed(data, format="JPEG", bytes_sha256=hashlib.sha256(data).hexdigest())
    exported = row["members"][0]["data"]
    assert b"taken by me" in data
    assert b"taken by me" not in exported
    assert (row["metadata"], row["sha256"]) == ("stripped", hashlib.sha256(exported).hexdigest())
    assert row["length"] == len(exported) < len(data)
    kept = packed(data, ManifestConfig(metadata="keep"), format="JPEG", bytes_sha256=hashlib.sha256(data).hexdigest())
    assert (kept["metadata"], kept["members"][0]["data"]) == ("kept", data)


def test_what_cannot_be_stripped_is_not_exported():
    data = encoded(picture(3), "JPEG", comment=b"taken by me")[:-200]
    row = packed(data, format="JPEG", bytes_sha256=hashlib.sha256(data).hexdigest())
    assert (row["drop_reason"], row["members"]) == ("unstrippable", [])
