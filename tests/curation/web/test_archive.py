"""WARC and WAT archives: what is in them is found, and what is broken costs itself and not its neighbours."""

from __future__ import annotations

import builtins
import gzip
import json
import tempfile
import zlib
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.web import archive, warc
from curation.web.archive import image_records, page_records, read_record
from curation.web.wat import wat_links
from tests.curation.web.archives import PACK, jpeg, record

A, B, C = ("https://a.example/1", "https://b.example/2", "https://c.example/3")
HTML = b"<html><body>" + b"<img src=a.jpg>" * 30 + b"</body></html>"
JPEGS = [jpeg(40 * n) for n in range(3)]
IMAGES = [record(url, data, "image/jpeg") for url, data in zip((A, B, C), JPEGS, strict=True)]
EVERY = pytest.mark.parametrize("ext", list(PACK))


def wrote(folder: Path, ext: str, *parts: bytes) -> str:
    """A file of parts that are packed already."""
    path = folder / f"a.warc{ext}"
    path.write_bytes(b"".join(parts))
    return str(path)


def images(uri: str) -> list[tuple[str | None, str | None]]:
    """(URL's last character, reason) of each; what has no reason is found again by its offset and length."""
    out: list[tuple[str | None, str | None]] = []
    with open(uri, "rb") as file:
        for found in image_records(uri):
            assert (found.data is None) == (found.reason is not None)
            assert found.data is None or read_record(file, found.offset, found.length) == found.data
            out.append((found.url and found.url[-1], found.reason))
    return out


@EVERY
def test_pages_and_what_they_ask(tmp_path: Path, ext: str) -> None:
    parts = [
        record("urn:info", b"software: x", "application/warc-fields", kind="warcinfo"),
        record(A, HTML, "text/html; charset=windows-1252", "X-Robots-Tag: noai\r\nX-Robots-Tag: all\r\ntdm-reservation: 1\r\n"),
        record(B, JPEGS[0], "image/jpeg"),
        record(B, b"<!DOCTYPE html><title>", "application/octet-stream"),
        record(B, b"{}", ""),
        record(B, HTML, status="404 Not Found"),
        record(C, HTML, "text/html", kind="resource"),
    ]
    found = list(page_records(wrote(tmp_path, ext, *map(PACK[ext], parts))))
    assert [(r.url, r.html[:6], r.charset) for r in found] == [
        (A, b"<html>", "windows-1252"),
        (B, b"<!DOCT", None),
        (C, b"<html>", None),
    ]
    assert found[0].headers == (("X-Robots-Tag", "noai"), ("X-Robots-Tag", "all"), ("tdm-reservation", "1"))
    assert found[0].offset == len(PACK[ext](parts[0]))


@EVERY
def test_images_are_found_again(tmp_path: Path, ext: str) -> None:
    resource = record(B, JPEGS[1], "image/jpeg", kind="resource")
    sniffed = record(C, JPEGS[2], "application/octet-stream")
    page, text = record(A, HTML), record(A, b"text", "application/octet-stream")
    uri = wrote(tmp_path, ext, *map(PACK[ext], [page, IMAGES[0], text, resource, sniffed]))
    assert images(uri) == [("1", None), ("2", None), ("3", None)]
    assert [found.data for found in image_records(uri)] == JPEGS


@EVERY
@pytest.mark.parametrize("left", [10, 60, 200])
def test_a_truncated_archive_keeps_what_is_before(tmp_path: Path, ext: str, left: int) -> None:
    packed = [PACK[ext](part) for part in IMAGES]
    uri = wrote(tmp_path, ext, *packed[:2], packed[2][:left])
    found = images(uri)
    assert found[:2] == [("1", None), ("2", None)]
    assert [reason for _, reason in found[2:]] == ["truncated_archive"]


@EVERY
@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (record(B, JPEGS[1], "image/jpeg", length=100_000), "bad_record"),
        (record(B, JPEGS[1], "image/jpeg", length=90), "bad_record"),
        (b"not a record at all\r\n" * 9, "bad_record"),
    ],
    ids=["too long", "too short", "noise"],
)
def test_a_broken_record_costs_itself(tmp_path: Path, ext: str, broken: bytes, reason: str) -> None:
    found = images(wrote(tmp_path, ext, PACK[ext](IMAGES[0]), PACK[ext](broken), PACK[ext](IMAGES[2])))
    assert found[0] == ("1", None)
    assert found[-1] == ("3", None)
    assert reason in {why for _, why in found}


@pytest.mark.parametrize("ext", [".gz", ".zst"])
def test_a_damaged_member_costs_itself(tmp_path: Path, ext: str) -> None:
    damaged = bytearray(PACK[ext](IMAGES[1]))
    damaged[3:40] = bytes(37)
    found = images(wrote(tmp_path, ext, PACK[ext](IMAGES[0]), bytes(damaged), PACK[ext](IMAGES[2])))
    assert [url for url, reason in found if not reason] == ["1", "3"]
    assert "bad_record" in {reason for _, reason in found}


def test_records_that_say_they_are_truncated(tmp_path: Path) -> None:
    cut = "WARC-Truncated: length\r\n"
    uri = wrote(tmp_path, "", record(A, JPEGS[0], "image/jpeg", more=cut), record(B, HTML, more=cut), IMAGES[2])
    assert images(uri) == [("1", "truncated"), ("3", None)]
    (page,) = page_records(uri)
    assert (page.html, page.reason, page.detail) == (HTML, "page_cut", "WARC-Truncated: length")


def test_what_is_packed_as_a_whole_cannot_be_found_again(tmp_path: Path) -> None:
    found = images(wrote(tmp_path, ".gz", gzip.compress(b"".join(IMAGES))))
    assert [reason for _, reason in found[1:]] == ["unsupported_archive"] * 2


def chunked(data: bytes) -> bytes:
    parts = (data[at : at + 100] for at in range(0, len(data), 100))
    return b"".join(b"%x;a=b\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def deflated(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (chunked(JPEGS[0]), "Transfer-Encoding: chunked\r\n"),
        (gzip.compress(JPEGS[0]), "Content-Encoding: gzip\r\n"),
        (zlib.compress(JPEGS[0]), "Content-Encoding: deflate\r\n"),
        (deflated(JPEGS[0]), "Content-Encoding: deflate\r\n"),
        (chunked(gzip.compress(JPEGS[0])), "Content-Encoding: x-gzip\r\nTransfer-Encoding: chunked\r\n"),
        (JPEGS[0], "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
    ],
)
def test_codings_are_undone(tmp_path: Path, body: bytes, headers: str) -> None:
    uri = wrote(tmp_path, ".gz", gzip.compress(record(A, body, "image/jpeg", headers)))
    assert images(uri) == [("1", None)]
    assert next(image_records(uri)).data == JPEGS[0]


def test_codings_that_cannot_be_undone_and_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = record(A, b"\x8b\x02", "image/jpeg", "Content-Encoding: br\r\n")
    assert images(wrote(tmp_path, "", unknown)) == [("1", "bad_encoding")]
    monkeypatch.setattr(archive, "MAX_IMAGE", 1000)
    bomb = record(A, gzip.compress(bytes(10_000_000)), "image/png", "Content-Encoding: gzip\r\n")
    assert images(wrote(tmp_path, "", bomb)) == [("1", "too_many_bytes")]


def test_a_file_that_never_stops_breaking_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warc, "MAX_BREAKS", 3)
    uri = wrote(tmp_path, "", *(record(A, b"x", "image/jpeg", length=10**6) for _ in range(50)))
    assert len(images(uri)) == 3


@pytest.mark.parametrize("data", [b"", b"\n\n", b"noise" * 500, b"\x1f\x8b\x08" * 100])
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    found = images(wrote(tmp_path, ".gz", data))
    assert [reason for _, reason in found] == (["bad_record"] if data.strip() else []) or data[:1] == b"\x1f"


def test_any_fsspec_path() -> None:
    with fsspec.open("memory://w/a.warc.gz", "wb") as file:
        file.write(gzip.compress(IMAGES[0]) + gzip.compress(record(B, HTML)))
    assert [r.url for r in image_records("memory://w/a.warc.gz")] == [A]
    assert [r.url for r in page_records("memory://w/a.warc.gz")] == [B]


def test_without_fastwarc_there_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *more: Any, **named: Any) -> Any:
        if name.startswith("fastwarc"):
            raise ModuleNotFoundError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"install curate\[crawl\]"):
        list(page_records(wrote(tmp_path, "", record(A, HTML))))


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_no_damage_raises_or_costs_the_records_before(data: st.DataObject) -> None:
    ext = data.draw(st.sampled_from(list(PACK)))
    packed = [PACK[ext](part) for part in IMAGES]
    whole = bytearray(b"".join(packed))
    at = data.draw(st.integers(len(packed[0]), len(whole) - 1))
    noise = data.draw(st.binary(max_size=60))
    whole[at : at + data.draw(st.integers(0, 60))] = noise
    with tempfile.TemporaryDirectory() as folder:
        uri = wrote(Path(folder), ext, bytes(whole))
        assert images(uri)[0] == ("1", None)
        assert all(r.reason for r in page_records(uri))


def wat(url: str, **html: Any) -> bytes:
    response = {"Headers": {"X-Robots-Tag": "noai", "Server": "x"}, "HTML-Metadata": html}
    envelope = {"WARC-Header-Metadata": {"WARC-Target-URI": url}, "Payload-Metadata": {"HTTP-Response-Metadata": response}}
    return record(url, json.dumps({"Envelope": envelope}).encode(), "application/json", kind="metadata")


def test_wat_links(tmp_path: Path) -> None:
    links = [
        {"path": "A@/href", "url": "/x"},
        {"path": "IMG@/src", "url": "/a.jpg", "alt": "A"},
        {"path": "IMG@/srcset", "url": "s.jpg 1x, t.jpg 2x"},
        {"path": "IMG@/src"},
        {"path": "IMG@/src", "url": "data:x"},
    ]
    metas = [{"property": "og:image", "content": "o.jpg"}, {"name": "ROBOTS", "content": "noindex"}, {"http-equiv": "x"}]
    head = {"Base": "https://z.example/q/", "Metas": metas, "Link": [{"rel": "image_src", "url": "/l.jpg"}, {"url": "/c.css"}]}
    broken = record(B, b'{"Envelope": []}', "application/json", kind="metadata")
    plain = record(B, b"fetchTimeMs: 1", "application/warc-fields", kind="metadata")
    path = tmp_path / "a.wat.gz"
    path.write_bytes(
        b"".join(map(gzip.compress, [plain, wat(A, Head=head, Links=links), broken, wat(C), wat(C, Links=[links[1]])]))
    )
    found = list(wat_links(str(path)))
    assert [(r.url, r.reason) for r in found] == [(A, None), (None, "bad_record"), (C, None)]
    assert found[0].page
    assert [tuple(link) for link in found[0].page.links] == [
        ("https://z.example/q/o.jpg", "meta@og:image", None),
        ("https://z.example/l.jpg", "link@image_src", None),
        ("https://z.example/a.jpg", "img@src", "A"),
        ("https://z.example/q/t.jpg", "img@srcset", None),
    ]
    assert found[0].page.opt_out == "x-robots-tag: noai; meta robots: noindex"


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["Head", "Links", "Metas", "Link", "Base", "url", "path", "alt", "content", "name"]),
                inner,
                max_size=4,
            )
        ),
    )
)
@settings(max_examples=150, deadline=None)
def test_no_json_raises(html: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        uri = wrote(Path(folder), "", wat(A, Links=html, Head=html), wat(B, Links=[]), wat(C, Head={"Base": html}))
        assert len(list(wat_links(uri))) <= 3
