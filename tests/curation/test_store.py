"""Parts and receipts: whole or not there, joined by id, the same on any file system."""

from __future__ import annotations

import json
import pickle
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import records
from curation import store as stores
from curation.store import Receipt, Store, encode, fingerprint, join, keep, matrix, vector_array
from tests.curation.making import image_row, name, put, put_vectors


def images(*rows: dict) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=records.IMAGES)


def files(store: Store, noun: str) -> list[str]:
    return sorted(path.name for path in Path(store.path(noun)).iterdir())


def receipt_file(store: Store, noun: str, part: int) -> Path:
    return next(Path(store.path(noun)).glob(f"*part-{part:05d}.done"))


@pytest.fixture(params=["local", "memory"])
def any_store(request, tmp_path) -> Store:
    return Store(str(tmp_path / "run") if request.param == "local" else f"memory://{uuid.uuid4().hex}/run")


def test_a_part_comes_back_as_it_was(any_store):
    table = images(image_row(1), image_row(2, drop_reason="too_small"), image_row(3, drop_reason="too_small"))
    receipt = any_store.write_part("images", 7, table, "made-by", 1.23456)
    assert (receipt.rows, receipt.kept, receipt.reasons, receipt.seconds) == (3, 1, {"too_small": 2}, 1.235)
    assert any_store.receipt("images", 7) == receipt
    parts = any_store.parts("images")
    assert parts.numbers == [7]
    assert parts.part(7).equals(table)
    assert parts.part(7, ["image_id"]).column_names == ["image_id"]
    assert parts.whole(["image_id"])["image_id"].to_pylist() == [name(1), name(2), name(3)]
    assert [t["image_id"].to_pylist() for _, t in parts.kept(["image_id"])] == [[name(1)]]
    assert next(parts.kept())[1].column_names == table.column_names


def test_rows_of_a_part_across_row_groups(any_store):
    table = pa.table({"n": range(100), "other": range(100)}).replace_schema_metadata({"row_group": "16"})
    any_store.write_part("noun", 3, table, "p")
    for start, stop in ((0, 100), (0, 1), (15, 17), (16, 32), (31, 33), (99, 100), (5, 90)):
        found = any_store.parts("noun").rows(3, start, stop, ["n"])
        assert found.to_pydict() == {"n": list(range(start, stop))}


def test_parts_are_listed_in_order_and_found_again_by_a_copy_of_the_store(any_store):
    for part in (3, 0, 12):
        put(any_store, "images", [image_row(part)], records.IMAGES, part)
    again = any_store if any_store.url.startswith("memory") else pickle.loads(pickle.dumps(any_store))
    assert list(again.receipts("images")) == [0, 3, 12]
    assert [number for number, _ in again.parts("images").tables()] == [0, 3, 12]
    assert list(again.receipts("images", [12, 5])) == [12]
    assert again.receipt("images", 5) is None


def test_nothing_there_is_no_error(any_store):
    assert any_store.receipts("images") == {}
    assert any_store.parts("images").numbers == []
    assert any_store.read_bytes("recipe.toml") is None
    any_store.trim("images", {0})
    any_store.discard(any_store.path("nothing"))


def test_bytes_are_written_and_overwritten(any_store):
    for data in (b"one", b"two"):
        any_store.write_bytes(data, "report", "summary.txt")
        assert any_store.read_bytes("report", "summary.txt") == data


def test_a_part_without_receipt_does_not_count(store):
    put(store, "images", [image_row(1)], records.IMAGES, 0)
    put(store, "images", [image_row(2)], records.IMAGES, 1)
    receipt_file(store, "images", 1).unlink()
    assert store.parts("images").numbers == [0]
    receipt_file(store, "images", 0).write_bytes(b"")
    assert store.parts("images").numbers == []


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_an_exception_while_writing_leaves_no_file(store, monkeypatch, error):
    def fail(*_args: object) -> None:
        raise error

    monkeypatch.setattr(stores.os, "fsync", fail)
    with pytest.raises(type(error)):
        put(store, "images", [image_row(1)], records.IMAGES)
    assert files(store, "images") == []


def test_a_kill_before_the_rename_leaves_the_old_file(store, monkeypatch):
    store.write_bytes(b"old", "recipe.toml")
    monkeypatch.setattr(store, "_rename", lambda *_: (_ for _ in ()).throw(SystemExit(9)))
    with pytest.raises(SystemExit):
        store.write_bytes(b"new", "recipe.toml")
    assert store.read_bytes("recipe.toml") == b"old"


def test_a_kill_between_part_and_receipt_does_not_leave_the_old_receipt_with_the_new_part(store, monkeypatch):
    store.write_part("images", 0, images(image_row(1)), "old recipe")
    rename = store._rename

    def killed(temporary: str, target: str) -> None:
        if target.endswith(".done"):
            raise SystemExit(9)
        rename(temporary, target)

    monkeypatch.setattr(store, "_rename", killed)
    with pytest.raises(SystemExit):
        store.write_part("images", 0, images(image_row(2)), "new recipe")
    assert store.receipt("images", 0) is None


def test_trim_removes_other_parts_and_what_killed_writers_left(any_store):
    for part in (0, 1, 2):
        put(any_store, "images", [image_row(part)], records.IMAGES, part)
    any_store.write_bytes(b"half", "images", "part-00000.parquet.tmp-12345678")
    any_store.write_bytes(b"tar", "images", "00002.tar")
    any_store.write_bytes(b"note", "images", "notes.txt")
    any_store.trim("images", {0, 2})
    left = {str(path).rsplit("/", 1)[-1] for path in any_store.fs.ls(any_store.path("images"), detail=False)}
    assert {n.lstrip("._") for n in left} == {
        *(f"part-0000{n}.{end}" for n in (0, 2) for end in ("parquet", "done")),
        "00002.tar",
        "notes.txt",
    }


def test_trim_takes_the_receipt_before_the_part(store, monkeypatch):
    put(store, "images", [image_row(1)], records.IMAGES, 1)
    gone: list[str] = []
    monkeypatch.setattr(store.fs, "rm", lambda path: gone.append(path.rsplit("/", 1)[-1]))
    store.trim("images", set())
    assert [n.lstrip("._") for n in gone] == ["part-00001.done", "part-00001.parquet"]


def test_the_receipt_says_what_is_in_the_file(store):
    receipt = store.write_part("images", 0, images(image_row(1)), "f")
    data = Path(store.path("images", "part-00000.parquet")).read_bytes()
    assert receipt.digest == stores.hashlib.sha256(data).hexdigest()
    assert Receipt(**json.loads(receipt_file(store, "images", 0).read_text())) == receipt


def test_equal_tables_give_equal_bytes(store):
    table = images(*(image_row(n) for n in range(50)))
    assert encode(table) == encode(pa.concat_tables([table.slice(0, 20), table.slice(20)]))
    put_vectors(store, "embeddings", {1: (0.5, 0.25)})
    meta = pq.read_metadata(store.path("embeddings", "part-00000.parquet"))
    assert "RLE_DICTIONARY" not in meta.row_group(0).column(1).encodings


def test_a_table_without_verdicts_is_all_kept(store):
    table = pa.table({"row": [1, 2], "vector": [[0.5], [1.0]]}, schema=records.BASIS)
    assert store.write_part("basis", 0, table, "f").kept == 2
    assert keep(table).equals(table)


def test_join_meets_by_id_in_any_order():
    rows = images(image_row(1), image_row(2), image_row(3)).select(["image_id", "width"])
    other = images(image_row(3, height=3, width=9), image_row(9), image_row(1, height=1), image_row(2, height=2))
    joined = join(rows, pa.concat_tables([other.slice(0, 2), other.slice(2)]))
    assert joined["height"].to_pylist() == [1, 2, 3]
    assert joined["width"].to_pylist() == [100, 100, 100]  # its own, where both have one
    assert joined["image_id"].equals(rows["image_id"])


def test_join_says_how_many_are_missing():
    rows = images(image_row(1), image_row(2), image_row(3)).select(["image_id"])
    with pytest.raises(ValueError, match="2 of 3 images have no row to join"):
        join(rows, images(image_row(1), image_row(2, drop_reason="too_small")))


def test_vectors_become_matrices_and_back():
    values = np.arange(12, dtype=np.float32).reshape(4, 3) / 16
    column = vector_array(values, records.vectors(3))
    for again in (matrix(column), matrix(pa.chunked_array([column[:1], column[1:]]))):
        np.testing.assert_array_equal(again, values)
        assert again.dtype == np.float16
    np.testing.assert_array_equal(matrix(column[2:]), values[2:])
    assert matrix(pa.chunked_array([], records.vectors(3))).shape == (0, 3)


def test_fingerprints_tell_values_apart_and_nothing_else():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 1.5})
    assert len(fingerprint()) == 32
