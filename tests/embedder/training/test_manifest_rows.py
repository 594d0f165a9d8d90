"""Reading a manifest: a run, files, SQL; near and far."""

from __future__ import annotations

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedder.training.manifest_rows import is_sql, read_manifest

IDS = [f"{number:032x}" for number in range(8)]


@pytest.fixture
def run(tmp_path):
    """A run folder whose manifest has two parts of four rows."""
    folder = tmp_path / "run" / "manifest"
    folder.mkdir(parents=True)
    for part in (0, 1):
        write(part, str(folder / f"part-0000{part}.parquet"))
    return str(tmp_path / "run")


def write(part: int, path: str) -> None:
    ids = IDS[4 * part : 4 * part + 4]
    table = {"image_id": ids, "uri": ["pool.tar"] * 4, "member": ids, "offset": [512, 1024, 2048, 4096], "length": [9] * 4}
    with fsspec.open(path, "wb") as file:
        pq.write_table(pa.table(table | {"weight": [1.0] * 4, "seed_set": ["a", "b", "a", "b"], "sidecars": ["{}"] * 4}), file)


@pytest.mark.parametrize("path", ["", "/", "/manifest", "/manifest/*.parquet"])
def test_a_run_and_its_files_are_the_same(run, path):
    held = read_manifest(run + path)
    assert held.keys(np.arange(len(held))) == IDS
    assert held.ref(5).uri == f"{run}/pool.tar"
    assert held.ref(5).offset == 1024
    assert held.digest == read_manifest(run).digest


def test_sql_chooses_and_comes_sorted(run):
    sql = "select * from manifest where seed_set = 'b' order by image_id desc;"
    held = read_manifest(sql, run)
    assert held.keys(np.arange(len(held))) == IDS[1::2]
    assert held.ref(0).uri == f"{run}/pool.tar"
    assert is_sql(sql)
    assert is_sql("\n from manifest limit 2")
    assert not is_sql("/data/select.parquet")


def test_sql_may_weigh_and_name_groups(run):
    held = read_manifest("select * replace (2.0 as weight) from manifest", run, ["seed_set"])
    assert held.weights_R.tolist() == [2.0] * 8
    assert sorted(held.groups["seed_set"][1]) == ["a", "b"]


def test_a_run_may_be_anywhere():
    for part in (0, 1):
        write(part, f"memory://far/manifest/part-0000{part}.parquet")
    held = read_manifest("memory://far")
    assert len(held) == 8
    assert held.ref(0).uri == "memory://far/pool.tar"
    assert len(read_manifest("from manifest where length = 9 limit 3", "memory://far")) == 3


@pytest.mark.parametrize(
    ("data", "groups", "said"),
    [
        ("{run}/nothing", [], "there is no manifest at"),
        ("{run}", ["cluster"], "has no column cluster; it has image_id"),
        ("select image_id from manifest", [], "has no column uri"),
        ("select * from elsewhere", [], "elsewhere"),
        ("select * from manifest where false", [], "no rows"),
        ("select wrong(", [], "syntax error"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(run, data, groups, said):
    with pytest.raises(ValueError, match=said) as caught:
        read_manifest(data.format(run=run), run, groups)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_parquet_is_named(tmp_path):
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest" / "part-0.parquet").write_bytes(b"hello, this is no Parquet file")
    with pytest.raises(ValueError, match=r"part-0\.parquet"):
        read_manifest(str(tmp_path))
