"""Lists of URLs in every form: their columns are found, their rows come in order, and what is broken is a row with a reason."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.web import files, rows
from curation.web.columns import ListError
from curation.web.listing import urls

A, B = "https://a.example/1.jpg", "https://b.example/2.jpg?x=1,2"


def read(path: Path | str, **options: Any) -> list[dict[str, Any]]:
    return [row for table in urls(str(path), **options) for row in table.to_pylist()]


def told(path: Path, data: str | bytes, **options: Any) -> list[tuple[Any, ...]]:
    """(url, caption, extra, reason) of every row of a file with these contents."""
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return [(r["url"], r["caption"], r["extra"] and json.loads(r["extra"]), r["drop_reason"]) for r in read(path, **options)]


def test_txt_skips_comments_and_blank_lines_and_keeps_where_a_line_begins(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf# seen in May\r\n\r\n" + A.encode() + b"\r\n  " + B.encode() + b"  ")
    assert [(r["url"], r["row"]) for r in read(path)] == [(A, 20), (B, 20 + len(A) + 2)]


def test_txt_rows_that_are_broken(tmp_path: Path) -> None:
    data = b"\xff\xfa\n" + b"x" * (files.MAX_LINE_BYTES * 3) + b"\n" + A.encode() + b"\n"
    assert [(u, r) for u, _, _, r in told(tmp_path / "a.txt", data)] == [(None, "bad_row"), (None, "bad_row"), (A, None)]
    assert read(tmp_path / "a.txt")[2]["row"] == 3 + files.MAX_LINE_BYTES * 3 + 1


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_packed_lists_of_several_members(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / ("a.txt.gz" if pack is gzip.compress else "a.urls.zst")
    path.write_bytes(pack(A.encode() + b"\n") + pack(B.encode() + b"\n"))
    assert [r["url"] for r in read(path)] == [A, B]


def test_a_truncated_list_gives_what_is_before_the_cut(tmp_path: Path) -> None:
    data = gzip.compress("".join(f"https://a.example/{n * 7919 % 100003}.jpg\n" for n in range(100_000)).encode())
    (tmp_path / "a.txt.gz").write_bytes(data[: len(data) // 2])
    found = read(tmp_path / "a.txt.gz")
    assert len(found) > 30_000
    assert [r["drop_reason"] for r in found[-2:]] == [None, "unreadable_list"]
    assert "Truncated" in found[-1]["error_message"]


def test_csv_takes_quoted_newlines_and_keeps_the_other_columns(tmp_path: Path) -> None:
    data = f'id,TEXT,URL\r\n1,"two\nlines, ""quoted""","{B}"\r\n\r\n2,,{A}\r\n'
    assert told(tmp_path / "a.csv", data) == [
        (B, 'two\nlines, "quoted"', {"id": "1"}, None),
        (A, None, {"id": "2"}, None),
    ]
    assert [r["row"] for r in read(tmp_path / "a.csv")] == [0, 1]


def test_csv_with_semicolons_and_broken_rows(tmp_path: Path) -> None:
    data = f"url;alt\n{A};x\n{A};x;y\n;nothing\n".encode() + b"\xff;z\n"
    assert [r for *_, r in told(tmp_path / "a.csv", data)] == [None, "bad_row", "no_url", "bad_row"]


def test_a_quote_that_does_not_end_costs_a_row_and_not_the_rest(tmp_path: Path) -> None:
    data = f'url,alt\n{A},"open\n' + f"{A},{'x' * 80}\n" * 5000 + f"{A}?z,last\n"
    found = told(tmp_path / "a.csv", data)
    assert found[0][3] == "bad_row"
    assert found[-1][:2] == (f"{A}?z", "last")


def test_tsv_without_a_header_as_conceptual_captions_has_it(tmp_path: Path) -> None:
    assert told(tmp_path / "a.tsv", f'a "dog\t{A}\n"b"\t{B}\n') == [(A, 'a "dog', None, None), (B, "b", None, None)]


def test_jsonl_of_objects_and_of_texts(tmp_path: Path) -> None:
    lines = [json.dumps({"id": 1, "image_url": A, "caption": "é"}), "", "{", "[1]", '{"image_url": null, "n": NaN}']
    assert told(tmp_path / "a.jsonl", "\n".join(lines)) == [
        (A, "é", {"id": 1}, None),
        (None, None, None, "bad_row"),
        (None, None, None, "bad_row"),
        (None, None, {"n": None}, "no_url"),
    ]
    assert told(tmp_path / "b.jsonl", f'"{A}"\n') == [(A, None, None, None)]
    hostile = f'{{"url": "{A}"}}\n' + "[" * 100_000 + f'\n{{"url": "{A}", "x": 1e999}}\n{{"url": "\\ud800"}}\n{{"url": 7}}\n'
    reasons = [(x, r) for _, _, x, r in told(tmp_path / "c.jsonl", hostile)]
    assert reasons == [(None, None), (None, "bad_row"), ({"x": None}, None), (None, "bad_row"), (None, "no_url")]


def test_parquet_by_rows(tmp_path: Path) -> None:
    table = pa.table({"id": range(5), "URL": [A, None, B, A, B], "TEXT": ["a", "b", None, "d", "e"]})
    pq.write_table(table.append_column("thumb", pa.array([b"1"] * 5)), tmp_path / "a.parquet", row_group_size=2)
    found = read(tmp_path / "a.parquet", start=1, stop=4)
    assert [(r["row"], r["url"], r["caption"], r["extra"]) for r in found] == [
        (1, None, "b", '{"id": 1}'),
        (2, B, None, '{"id": 2}'),
        (3, A, "d", '{"id": 3}'),
    ]
    assert found[0]["drop_reason"] == "no_url"
    assert len(read(tmp_path / "a.parquet")) == 5


def test_columns_by_name_by_look_and_by_error(tmp_path: Path) -> None:
    data = f"picture,image,photo_url\n{A},a.jpg,{A}?b\n"
    assert told(tmp_path / "a.csv", data)[0][0] == A
    assert told(tmp_path / "a.csv", data, url_column="photo_url", caption_column="image")[0][:2] == (f"{A}?b", "a.jpg")
    with pytest.raises(ListError, match=r"a\.csv: no column 'photo_ur'; did you mean 'photo_url'\?"):
        read(tmp_path / "a.csv", url_column="photo_ur")
    with pytest.raises(ListError, match="no column 'zzz'; there are: picture, image, photo_url"):
        read(tmp_path / "a.csv", caption_column="zzz")
    (tmp_path / "b.csv").write_text("x,y\n1,2\n")
    with pytest.raises(ListError, match="no column of URLs among: x, y"):
        read(tmp_path / "b.csv")


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
def test_utf16_is_told_of(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(f"url\n{A}\n".encode("utf-16"))
    with pytest.raises(ListError, match="save it as UTF-8"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl", "a.txt.gz"])
def test_empty_lists_have_no_rows_or_no_column(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith("gz") else b"")
    if "sv" in name:
        with pytest.raises(ListError, match="no column of URLs among: none"):
            read(tmp_path / name)
    else:
        assert read(tmp_path / name) == []


def test_any_fsspec_path() -> None:
    with fsspec.open("memory://lists/a.txt.gz", "wb") as file:
        file.write(gzip.compress(A.encode()))
    assert [r["url"] for r in read("memory://lists/a.txt.gz")] == [A]


def test_batches_are_bounded_by_rows_and_by_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{A}\n" * 25_000)
    assert [t.num_rows for t in urls(str(path))] == [10_000, 10_000, 5_000]
    monkeypatch.setattr(rows, "BATCH_BYTES", 10_000)
    (tmp_path / "a.jsonl").write_text(json.dumps({"url": A, "text": "x" * 4000}) + "\n" + (json.dumps({"url": A}) + "\n") * 3)
    assert max(t.num_rows for t in urls(str(path))) < 500


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_lines_are_where_they_say_they_are(pieces: list[bytes], size: int) -> None:
    data = b"\n".join(pieces)
    chunks = (data[at : at + size] for at in range(0, len(data), size))
    found = list(files.lines(chunks))
    assert b"\n".join(line for _, line in found) == data.removesuffix(b"\n")
    assert all(data[at : at + len(line)] == line for at, line in found)


@given(st.binary(max_size=300), st.sampled_from(["a.txt", "a.csv", "a.tsv", "a.jsonl", "a.txt.gz", "a.csv.zst", "a.parquet"]))
@settings(max_examples=300, deadline=None)
def test_whatever_a_list_holds_is_rows_or_one_clear_error(data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        try:
            found = read(path)
        except (ListError, OSError, pa.ArrowException):
            return
        assert all((r["url"] is None) == (r["drop_reason"] is not None) for r in found)


def test_memory_does_not_follow_a_line() -> None:
    giant = (b"x" * (1 << 20) for _ in range(64))
    assert [len(line) for _, line in files.lines(giant)] == [files.MAX_LINE_BYTES + 1]
