"""Parts: of one set each, of about equal size, in an order of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.sources import SourceError
from curation.stages.sources import SourcesConfig, plan_parts


@pytest.fixture
def places(tmp_path: Path) -> Path:
    for folder, count in (("pool", 600), ("seeds", 5), ("val", 3)):
        (tmp_path / folder).mkdir()
        for n in range(count):
            (tmp_path / folder / f"{n:04d}.jpg").write_bytes(b"%d" % n)
    return tmp_path


def parts(places: Path, rows: int) -> list[tuple[str, int]]:
    cfg = SourcesConfig(
        sources=(f"{places}/pool",), seeds=(("s", f"{places}/seeds"),), protect=(("v", f"{places}/val"),), part_rows=rows
    )
    tables = [table for _, table in plan_parts({}, cfg)]
    for table in tables:
        assert len(set(table["set"].to_pylist())) == 1
    return [(table["set"][0].as_py(), table.num_rows) for table in tables]


def test_the_pool_comes_first_and_sets_are_not_mixed(places: Path) -> None:
    assert parts(places, 400) == [("pool", 400), ("pool", 200), ("seed:s", 5), ("protect:v", 3)]


def test_parts_follow_the_size_of_the_pool(places: Path) -> None:
    assert [rows for name, rows in parts(places, 0) if name == "pool"] == [250, 250, 100]


def test_no_pool_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no pool"):
        list(plan_parts({}, SourcesConfig(sources=())))
    with pytest.raises(SourceError, match="nothing found"):
        list(plan_parts({}, SourcesConfig(sources=(str(tmp_path),))))
