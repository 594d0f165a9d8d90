"""The world: reproducible, with every kind of dirt, and a truth that matches the files byte for byte."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import records
from curation.sources import plan, read_units
from pipelines.demo.world import build_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_world(tmp_path_factory.mktemp("world"), seed=5, images=220)


def digest(root: Path) -> str:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(f.relative_to(root)).encode() + f.read_bytes() for f in files)).hexdigest()


def test_equal_seeds_equal_bytes(world: Path, tmp_path: Path) -> None:
    assert digest(build_world(tmp_path, seed=5, images=220)) == digest(world)


def test_every_kind_is_there(world: Path) -> None:
    truth = pq.read_table(world / "truth" / "truth.parquet").to_pylist()
    kinds = Counter(row["kind"] for row in truth)
    assert kinds["original"] == 220
    assert min(kinds[kind] for kind in ("exact_duplicate", "edited_copy", "protected_copy", "odd", "broken")) > 0
    reasons = {row["expected"] for row in truth if row["kind"] == "broken"}
    assert reasons >= {"empty_file", "truncated", "not_an_image", "too_many_pixels", "too_small", "bad_aspect", "flat",
                       "unsafe_name", "truncated_archive", "no_image_column"}  # fmt: skip


def test_what_is_read_is_what_the_truth_says(world: Path) -> None:
    units = pa.Table.from_pylist(plan(str(world / "pool"), records.POOL), schema=records.SOURCES)
    read = Counter(hashlib.sha256(found.data).hexdigest() for found in read_units(units) if found.data)
    truth = pq.read_table(world / "truth" / "truth.parquet").to_pylist()
    unreadable = {"empty_file", "unsafe_name", "truncated_archive", "no_image_column"}
    assert read == Counter(row["sha256"] for row in truth if row["expected"] not in unreadable)


def test_seeds_are_known_by_their_bytes(world: Path) -> None:
    seeds = pq.read_table(world / "truth" / "seeds.parquet").to_pylist()
    held = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (world / "seeds").rglob("*.jpg")}
    assert {row["sha256"] for row in seeds} == held
