"""From files to links: what holds links, how it is cut, and that the cuts lose and double nothing."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import records
from curation.web import gather, links
from curation.web.columns import ListError
from curation.web.links import LINKS, is_web, links_of, plan_web
from tests.bench.bench_links import write_archives
from tests.curation.web.archives import record

A = "https://a.example/1.jpg"


def plan(path: Path) -> list[dict[str, Any]]:
    """Units as they come back from the table they are stored in."""
    units = plan_web("pool", str(path), path.name, {"size": path.stat().st_size, "mtime": 1.5})
    return pa.Table.from_pylist(units, schema=records.SOURCES).to_pylist()


def read(path: Path, **options: Any) -> list[dict[str, Any]]:
    tables = [table for unit in plan(path) for table in links_of(unit, **options)]
    assert all(table.schema == LINKS and table.num_rows <= 10_000 for table in tables)
    return [row for table in tables for row in table.to_pylist()]


def test_what_holds_links(tmp_path: Path) -> None:
    names = {"a.txt": "urls", "A.CSV": "urls", "a.tsv.gz": "urls", "a.jsonl.zst": "urls", "a.urls": "urls", "a.jpg": None}
    names |= {"a.warc": "warc", "a.warc.gz": "warc", "a.warc.zst": "warc", "a.tar.gz": None, "a.json": None, "warc": None}
    names |= {"a.wat": "wat", "a.wat.gz": "wat", "a.warc.wat.gz": "wat", "warc.wat/b.warc.gz": "warc"}
    assert {name: is_web(name) for name in names} == names


def test_a_parquet_file_holds_links_if_it_has_urls_and_no_images(tmp_path: Path) -> None:
    tables = {
        "links": pa.table({"photo": [A]}),
        "images": pa.table({"url": [A], "image": [b"1"]}),
        "hugging": pa.table({"url": [A], "image": [{"bytes": b"1", "path": "x"}]}),
        "neither": pa.table({"n": [1]}),
    }
    for name, table in tables.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    assert [p.stem for p in sorted(tmp_path.iterdir()) if is_web(str(p))] == ["links"]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_cut_list_gives_each_line_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, ending: str) -> None:
    urls = [f"https://a.example/{'x' * (n % 13)}{n}.jpg" for n in range(300)]
    lines = urls if name == "a.txt" else [f'{{"url": "{u}"}}' for u in urls]
    (tmp_path / name).write_bytes(ending.join(lines).encode())
    whole = read(tmp_path / name)
    monkeypatch.setattr(links, "SPLIT_BYTES", 97)
    assert len(plan(tmp_path / name)) > 50
    assert read(tmp_path / name) == whole
    assert [row["url"] for row in whole] == urls
    assert {row["source"] for row in whole} == {str(tmp_path / name)}


def test_what_cannot_be_cut_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "SPLIT_BYTES", 50)
    (tmp_path / "a.csv").write_text("url,text\n" + f'{A},"a\nb"\n' * 20)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(f"{A}\n".encode() * 20))
    for name in ("a.csv", "a.txt.gz"):
        assert len(plan(tmp_path / name)) == 1
        assert [row["url"] for row in read(tmp_path / name)] == [A] * 20


def test_parquet_is_cut_by_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "SPLIT_ROWS", 30)
    pq.write_table(pa.table({"url": [f"{A}?{n}" for n in range(100)]}), tmp_path / "a.parquet", row_group_size=40)
    assert [(u["start"], u["stop"], u["images"]) for u in plan(tmp_path / "a.parquet")][-2:] == [(60, 90, 30), (90, 100, 10)]
    assert [(r["row"], r["url"]) for r in read(tmp_path / "a.parquet")] == [(n, f"{A}?{n}") for n in range(100)]


def test_what_cannot_be_used_is_one_row_and_a_named_column_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    (row,) = read(tmp_path / "a.csv")
    assert (row["drop_reason"], row["url"], row["source"]) == ("unreadable_list", None, str(tmp_path / "a.csv"))
    assert "no column of URLs" in row["error_message"]
    (tmp_path / "b.csv").write_text(f"pic\n{A}\n")
    with pytest.raises(ListError, match="no column 'picc'; did you mean 'pic'"):
        read(tmp_path / "b.csv", url_column="picc")


def test_a_file_that_went_away_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(A)
    units = plan(tmp_path / "a.txt")
    (tmp_path / "a.txt").unlink()
    (row,) = (row for table in links_of(units[0]) for row in table.to_pylist())
    assert row["drop_reason"] == "unreadable_list"


HTML = b'<meta name=robots content=noai><img src="a.jpg" alt="x"><img src="data:x"><img src="/b.jpg" alt="">'


def test_links_of_a_warc(tmp_path: Path) -> None:
    pages = [
        record("https://a.example/p/1", HTML),
        record("https://a.example/2", b"<img src=c.jpg>", headers="TDM-Reservation: 1\r\n"),
    ]
    cut = record("https://a.example/3", b"<img src=d.jpg>", more="WARC-Truncated: length\r\n")
    packed = [gzip.compress(part) for part in (*pages, cut)]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(packed) + b"\x1f\x8b\x08noise")
    found = read(tmp_path / "a.warc.gz")
    wanted = ("url", "page", "row", "tag", "caption", "opt_out", "drop_reason")
    second, third = len(packed[0]), len(packed[0]) + len(packed[1])
    at, asks = "https://a.example", "meta robots: noai"
    assert [tuple(row[name] for name in wanted) for row in found] == [
        (f"{at}/p/a.jpg", f"{at}/p/1", 0, "img@src", "x", asks, None),
        (f"{at}/b.jpg", f"{at}/p/1", 0, "img@src", None, asks, None),
        (f"{at}/c.jpg", f"{at}/2", second, "img@src", None, "tdm-reservation: 1", None),
        (f"{at}/d.jpg", f"{at}/3", third, "img@src", None, None, None),
        (None, f"{at}/3", third, None, None, None, "page_cut"),
        (None, None, sum(map(len, packed)) + 8, None, None, None, "truncated_archive"),
    ]
    assert {row["source"] for row in found} == {str(tmp_path / "a.warc.gz")}


def test_batches_of_archives_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = b"".join(b"<img src=%d.jpg alt='\xed\xa0\x80 %s'>" % (n, b"y" * 3000) for n in range(40))
    (tmp_path / "a.warc").write_bytes(b"".join(record(f"https://a.example/{n}", page) for n in range(30)))
    monkeypatch.setattr(gather, "ROWS", 100)
    found = [table for unit in plan(tmp_path / "a.warc") for table in links_of(unit)]
    assert [table.num_rows for table in found] == [80] * 15
    assert {len(text) for table in found for text in table["caption"].to_pylist()} == {2000}
    monkeypatch.setattr(gather, "HELD_BYTES", 1)
    assert [table.num_rows for unit in plan(tmp_path / "a.warc") for table in links_of(unit)] == [40] * 30


def test_links_of_a_wat_equal_those_of_its_pages(tmp_path: Path) -> None:
    warc, wat, _ = write_archives(tmp_path, 20, 1)
    by_page, by_wat = read(warc), read(wat)
    key = ("page", "url")
    assert len(by_page) > 800
    ours = {tuple(row[name] for name in key) for row in by_page if row["tag"] not in ("img@data-src",)}
    assert {tuple(row[name] for name in key) for row in by_wat} == ours
    assert {row["opt_out"] for row in by_wat} == {row["opt_out"] for row in by_page}


def test_text_that_no_column_can_hold(tmp_path: Path) -> None:
    told = b'{"Envelope": {"WARC-Header-Metadata": {"WARC-Target-URI": "https://a.example/"}, "Payload-Metadata": '
    told += b'{"HTTP-Response-Metadata": {"HTML-Metadata": {"Links": [{"path": "IMG@/src", "url": "/\\ud800.jpg"}]}}}}}'
    (tmp_path / "a.wat").write_bytes(record("https://a.example/", told, "application/json", kind="metadata"))
    assert [row["url"] for row in read(tmp_path / "a.wat")] == ["https://a.example/?.jpg"]
