"""Images stored in WARC archives as a source: planned, read, and found again by reference."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from curation import records
from curation.sources import Found, plan, read_bytes, read_units
from tests.curation.web.archives import PACK, jpeg, record

A, B = "https://a.example/1.jpg", "https://b.example/2.jpg"
PARTS = [
    record("https://a.example/", b"<html><img src=1.jpg></html>"),
    record(A, jpeg(0), "image/jpeg", "X-Robots-Tag: noai\r\n"),
    record(B, jpeg(90), "image/jpeg", kind="resource"),
]


def items(path: Path) -> list[Found]:
    return list(read_units(pa.Table.from_pylist(plan(str(path), records.POOL), schema=records.SOURCES)))


def refs(read: list[Found]) -> pa.Table:
    rows = [{f.name: getattr(i, f.name) for f in records.BYTES_REF} for i in read]
    return pa.Table.from_pylist(rows, schema=pa.schema(records.BYTES_REF))


@pytest.mark.parametrize("ext", list(PACK))
def test_images_of_an_archive(tmp_path: Path, ext: str) -> None:
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / f"Crawl.1.warc{ext}"
    path.write_bytes(b"".join(map(PACK[ext], PARTS)))
    (unit,) = plan(str(tmp_path), records.POOL)
    assert (unit["kind"], unit["key"], unit["error_message"]) == ("warc", f"sub/Crawl.1.warc{ext}", None)
    found = items(tmp_path)
    assert [(i.url, i.data, i.member, i.reason) for i in found] == [(A, jpeg(0), "warc", None), (B, jpeg(90), "warc", None)]
    assert found[0].key == f"sub/Crawl-{len(PACK[ext](PARTS[0])):012d}"
    assert json.loads(found[0].sidecars or "") == {"content-type": "image/jpeg", "x-robots-tag": "noai"}
    assert read_bytes(refs(found[::-1])) == [jpeg(90), jpeg(0)]
    assert items(tmp_path) == found


def test_references_to_what_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(map(PACK[".gz"], PARTS)))
    wanted = refs(items(path))
    path.write_bytes(path.read_bytes()[:-20])
    assert read_bytes(wanted) == [jpeg(0), None]
    path.unlink()
    assert read_bytes(wanted) == [None, None]


def test_broken_and_empty_archives_are_rows(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(PACK[".gz"](PARTS[0]))
    (tmp_path / "b.warc").write_bytes(b"noise" * 99)
    (tmp_path / "c.warc.zst").write_bytes(PACK[".zst"](PARTS[1]) + PACK[".zst"](PARTS[2])[:99])
    assert [(i.uri[-10:], i.reason) for i in items(tmp_path)] == [
        (str(tmp_path / "a.warc.gz")[-10:], "empty_archive"),
        (str(tmp_path / "b.warc")[-10:], "bad_record"),
        (str(tmp_path / "c.warc.zst")[-10:], None),
        (str(tmp_path / "c.warc.zst")[-10:], "truncated_archive"),
    ]
