"""What a run leaves opens unchanged in the tools people have."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import datasets
import duckdb
import pyarrow.parquet as pq
import webdataset

from tests.pipelines.conftest import World


def manifest(world: World) -> list[dict[str, object]]:
    return pq.read_table(world.run / "manifest").to_pylist()


def test_pyarrow_alone(world: World) -> None:
    rows = manifest(world)
    assert len({row["image_id"] for row in rows}) == len(rows) == 30


def test_duckdb_alone(world: World) -> None:
    sql = f"select count(*), count(distinct image_id) from '{world.run}/manifest/part-*.parquet'"
    assert duckdb.sql(sql).fetchall() == [(30, 30)]


def test_embeddings_are_joined_by_id_in_duckdb(world: World) -> None:
    path = f"{world.run}/embeddings/part-*.parquet"
    width = duckdb.sql(f"select len(embedding) from '{path}' limit 1").fetchall()[0]
    same = duckdb.sql(f"select min(list_inner_product(embedding, embedding)) from '{path}'").fetchall()[0]
    assert width[0] > 1
    assert abs(same[0] - 1) < 0.01


def test_datasets_parquet(world: World, tmp_path: Path) -> None:
    loaded = datasets.load_dataset("parquet", data_dir=str(world.run / "manifest"), cache_dir=str(tmp_path), split="train")
    assert loaded.num_rows == 30
    assert "seed_set" in loaded.column_names


def test_datasets_webdataset(world: World, tmp_path: Path) -> None:
    loaded = datasets.load_dataset("webdataset", data_dir=str(world.run / "curated"), cache_dir=str(tmp_path), split="train")
    assert loaded.num_rows == 30
    assert loaded[0]["jpg"].size == (96, 96)


def test_webdataset(world: World) -> None:
    files = [str(path) for path in sorted((world.run / "curated").glob("*.tar"))]
    by_key = {row["shard_key"]: row for row in manifest(world)}
    samples = list(webdataset.WebDataset(files, shardshuffle=False))
    assert len(samples) == 30
    for sample in samples:
        assert hashlib.sha256(sample["jpg"]).hexdigest() == by_key[sample["__key__"]]["sha256"]  # nothing was there to strip
        assert json.loads(sample["json"])["image_id"] == by_key[sample["__key__"]]["image_id"]


def test_stats_of_the_shards(world: World) -> None:
    stats = json.loads((world.run / "report" / "shards_stats.json").read_text())
    assert stats["shards"]["00000.tar"] == {"count": 30, "successes": 30, "failed": 0}
    assert stats["successes"] == 30


def test_bytes_are_where_the_manifest_says(world: World) -> None:
    curated = {row["image_id"]: row for row in pq.read_table(world.run / "shards" / "part-00000.parquet").to_pylist()}
    shard = (world.run / "curated" / "00000.tar").read_bytes()
    for row in manifest(world):
        at = curated[row["image_id"]]
        assert hashlib.sha256(shard[at["offset"] : at["offset"] + at["length"]]).hexdigest() == row["sha256"]
