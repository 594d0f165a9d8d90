"""Links of a page: every place they stand in, made absolute as a browser would, whatever the page does to a reader."""

from __future__ import annotations

import time
from urllib.parse import urljoin

import can_ada
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from curation.web import pages
from curation.web.pages import largest, page_links
from curation.web.resolve import MAX_URL, resolve

URL = "https://a.example/b/c.html?d#e"


def links(html: str | bytes, url: str = URL, charset: str | None = None) -> list[tuple[str, str, str | None]]:
    return [tuple(link) for link in page_links(html if isinstance(html, bytes) else html.encode(), url, charset).links]


def urls(html: str | bytes, url: str = URL, charset: str | None = None) -> list[str]:
    return [link[0] for link in links(html, url, charset)]


def test_every_place_of_a_link() -> None:
    html = """<head><meta property="og:image" content="/og.jpg"><meta property="OG:image:secure_url" content="/s.jpg">
    <meta name="twitter:image" content="/t.jpg"><link rel="foo image_src" href="/l.jpg"><meta property="og:title" content="x">
    <body><img src=a.jpg alt="A &amp; B"><img src="data:image/gif;base64,R0" data-src="late.jpg" alt="">
    <picture><source srcset="s1.webp 1x, s2.webp 2x"><img src="p.jpg"></picture><img><img src="">
    <img src="small.jpg" srcset="small.jpg 1w, big.jpg 9w"><img data-srcset="u.jpg 3w"><video><source src="v.mp4"></video>
    <noscript><img src="n.jpg"></noscript>"""
    at = "https://a.example/b/"
    assert links(html) == [
        ("https://a.example/og.jpg", "meta@og:image", None),
        ("https://a.example/s.jpg", "meta@og:image:secure_url", None),
        ("https://a.example/t.jpg", "meta@twitter:image", None),
        ("https://a.example/l.jpg", "link@image_src", None),
        (f"{at}a.jpg", "img@src", "A & B"),
        (f"{at}late.jpg", "img@data-src", None),
        (f"{at}s2.webp", "source@srcset", None),
        (f"{at}p.jpg", "img@src", None),
        (f"{at}small.jpg", "img@src", None),
        (f"{at}big.jpg", "img@srcset", None),
        (f"{at}u.jpg", "img@data-srcset", None),
        (f"{at}n.jpg", "img@src", None),
    ]


@pytest.mark.parametrize(
    ("srcset", "best"),
    [
        ("a.jpg 100w, b.jpg 200w, c.jpg 50w", "b.jpg"),
        ("a.jpg, b.jpg 1.5x, c.jpg 3x", "c.jpg"),
        ("a.jpg 1x,b.jpg 2x", "b.jpg"),
        ("https://x/w_1,h_2/a.jpg 1x, https://x/w_2,h_4/a.jpg 2x", "https://x/w_2,h_4/a.jpg"),
        ("\n  a.jpg 10w,\n  b.jpg 20w,\n", "b.jpg"),
        ("a.jpg", "a.jpg"),
        ("a,b.jpg", "a,b.jpg"),
        ("a.jpg,, b.jpg 0.5x", "a.jpg"),
        ("a.jpg 10q, b.jpg 5w", "b.jpg"),
        ("data:image/png;base64,AA 3x, a.jpg 1x", "a.jpg"),
        ("a.jpg 1w 5h, b.jpg 2w 9h", "b.jpg"),
        (" , ", ""),
    ],
)
def test_the_largest_of_a_srcset(srcset: str, best: str) -> None:
    assert largest(srcset) == best


@pytest.mark.parametrize(
    ("link", "whole"),
    [
        ("HTTP://X.example/a", "HTTP://X.example/a"),
        ("//x.example/a", "https://x.example/a"),
        ("/a b.jpg", "https://a.example/a b.jpg"),
        (" \n/a\t.jpg ", "https://a.example/a.jpg"),
        ("\\\\x.example\\a?b\\c", "https://x.example/a?b\\c"),
        ("?x", "https://a.example/b/c.html?x"),
        ("../a.jpg", "https://a.example/b/../a.jpg"),
        ("a:b.jpg", "a:b.jpg"),
        ("DATA:image/png,AA", None),
        ("#top", None),
        ("", None),
        ("https://x.example/" + "a" * MAX_URL, None),
        ("//[", None),
    ],
)
def test_odd_links(link: str, whole: str | None) -> None:
    assert resolve([link], URL) == [whole] or (whole is None and link == "//[" and resolve([link], URL) == ["https://["])


@pytest.mark.parametrize(
    ("base", "whole"),
    [
        ("https://z.example", "https://z.example/a.jpg"),
        ("/d/e", "https://a.example/d/a.jpg"),
        ("x/", "https://a.example/b/x/a.jpg"),
        ("javascript:1", "https://a.example/b/a.jpg"),
        ("", "https://a.example/b/a.jpg"),
    ],
)
def test_base_counts_wherever_it_stands(base: str, whole: str) -> None:
    html = f'<img src=a.jpg><base href="{base}"><base href="https://second.example/"><img src=a.jpg>'
    want = whole if base != "javascript:1" else None
    assert urls(html) == ([want] * 2 if want else [])


def test_a_page_without_an_address_has_absolute_links_only() -> None:
    assert urls("<img src=/a><img src=b><img src=//c><img src=https://d/e>", "urn:x") == ["https://d/e"]


@pytest.mark.parametrize("charset", ["windows-1251", "shift_jis", "utf-16", "no-such-charset", None])
def test_charsets(charset: str | None) -> None:
    told = {"windows-1251": "Привет", "shift_jis": "日本", "utf-16": "日本"}.get(charset or "", "é")
    data = f'<img src=a.jpg alt="{told}">'.encode(charset if charset in ("windows-1251", "shift_jis", "utf-16") else "utf-8")
    assert links(data, charset=charset)[0][2] == told
    assert links('<meta charset="windows-1251"><img src=a alt="Привет">'.encode("windows-1251"))[0][2] == "Привет"


@pytest.mark.parametrize(
    ("meta", "asked"),
    [
        ('<meta name="robots" content="NoAI, noimageai">', "meta robots: noai; meta robots: noimageai"),
        ('<META NAME="ROBOTS" CONTENT="none">', "meta robots: noindex"),
        ('<meta name="googlebot-image" content="noimageindex">', "meta googlebot-image: noimageindex"),
        ('<meta name="tdm-reservation" content="1">', "meta tdm-reservation: 1"),
        ('<meta name="tdm-reservation" content="0"><meta name=robots content="index, follow">', None),
        ('<body><meta name="robots" content="all"><meta name="robots" content="noai">', "meta robots: noai"),
    ],
)
def test_what_a_page_asks_for(meta: str, asked: str | None) -> None:
    assert page_links(meta.encode(), URL).opt_out == asked


def test_headers_ask_as_well() -> None:
    headers = (("X-Robots-Tag", "otherbot: noai"), ("X-Robots-Tag", "noindex"), ("TDM-Reservation", "1"))
    assert page_links(b"", URL, headers=headers).opt_out == "x-robots-tag: noindex; tdm-reservation: 1"


@pytest.mark.parametrize(
    "html",
    [
        b"<div>" * 300_000,
        b"".join(b"<b a=%d><p>" % n for n in range(40_000)),
        b"<ul><li>" * 100_000,
        b"<img " + b" ".join(b"a%d=1" % n for n in range(300_000)) + b" src=b>",
        b"<img src='" + b"a" * (30 << 20) + b"'>",
        b"<img srcset='" + b"a 1w," * 1_000_000 + b"'>",
        b"\0" * (3 << 20),
        b"<table>" * 200_000 + b"<svg>" * 100_000,
    ],
    ids=["deep", "formatting", "lists", "attributes", "attribute", "srcset", "nul", "tables"],
)
def test_hostile_pages_cost_little_and_keep_what_is_before(html: bytes) -> None:
    began = time.process_time()
    page = page_links(b"<img src=first.jpg>" + html, URL)
    assert page.links[0].url == "https://a.example/b/first.jpg"
    assert page.trouble
    assert time.process_time() - began < 12


def test_many_images_are_cut_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_LINKS", 5)
    page = page_links(b"<img src=a>" * 8, URL)
    assert (len(page.links), page.trouble) == (5, "8 links, of which the first 5 are kept")
    assert len(page_links(b"<img src=a>" * 100_000, URL).links) == 5


def test_a_long_attribute_is_no_reason_to_cut() -> None:
    page = page_links(b"<img src='data:image/png;base64," + b"A/" * 9_000 + b"' data-src=a.jpg><img src=b.jpg>", URL)
    assert [link.url[-5:] for link in page.links] == ["a.jpg", "b.jpg"]
    assert page.trouble is None


@given(
    st.lists(
        st.binary(max_size=30) | st.sampled_from([b"<img src=", b"<base href=", b"'", b">", b"<meta name=robots content="])
    )
)
@settings(max_examples=200, deadline=None)
def test_no_bytes_raise(parts: list[bytes]) -> None:
    page = page_links(b"".join(parts), URL)
    assert len(page.urls) == len(page.tags) == len(page.alts)
    assert all(link.url for link in page.links)


_PATH = st.text("abz.-_/?=&%~+,@!", max_size=12)


@given(_PATH, st.text("ab/?#", max_size=6))
@settings(max_examples=500, deadline=None)
def test_relative_links_are_what_the_standard_says(link: str, path: str) -> None:
    base = f"https://a.example/{path}"
    assume("//" not in f"/{path}" and "//" not in link[1:])  # urljoin, unlike the standard, drops empty segments
    (found,) = resolve([link], base)
    if not link:
        assert found is None
        return
    try:
        want = can_ada.parse(urljoin(base, link) if not link.startswith("//") else "https:" + link).href
    except ValueError:
        return
    assert found is not None
    assert can_ada.parse(found).href.rstrip("?") == want.rstrip("?")  # urljoin drops an empty query, too
