"""From archives to links: `links_of` on a WARC and on a WAT, beside the barest loop that reads the same file.

    python -m tests.bench.bench_links --json

The pages are drawn: each has a head, navigation, paragraphs, scripts and 40 images whose addresses, attributes and order
differ. Bare WARC: FastWARC + selectolax, `for img in tree.css("img"): img.attributes.get("src")`. Bare WAT: FastWARC +
json.loads + reading the same list of links. One process, the two ways in
turns, in CPU seconds; the ratio is of the medians.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import statistics
import string
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastwarc.stream_io import GzipWriter
from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType
from selectolax.lexbor import LexborHTMLParser

from curation.web.links import links_of, plan_web

IMAGES = 40
_draw = random.Random(7)
WORDS = ["".join(_draw.choices(string.ascii_lowercase, k=_draw.randint(2, 11))) for _ in range(4000)]


def words(draw: random.Random, n: int) -> str:
    return " ".join(draw.choices(WORDS, k=n))


def address(draw: random.Random, host: str) -> str:
    """An image address in one of the spellings that pages use."""
    path = f"{draw.choice(WORDS)}/{draw.choice(WORDS)}-{draw.randint(1, 10**6)}.{draw.choice(('jpg', 'png', 'webp'))}"
    kind = draw.random()
    if kind < 0.4:
        return f"https://cdn{draw.randint(1, 9)}.{host}/{path}"
    if kind < 0.5:
        return f"//static.{host}/{path}?w={draw.randint(100, 900)}&amp;q=80"
    return f"/{path}" if kind < 0.85 else path


def image(draw: random.Random, host: str) -> str:
    """One <img> as content systems write it; every fifth has a srcset, every eighth is loaded late."""
    src, alt = address(draw, host), words(draw, draw.randint(0, 8))
    more = f' class="{words(draw, 2)}" width="{draw.randint(50, 999)}" height="{draw.randint(50, 999)}"'
    if draw.random() < 0.2:
        more += f' srcset="{src} 320w, {address(draw, host)} 640w, {address(draw, host)} 1280w" sizes="100vw"'
    if draw.random() < 0.125:
        return f'<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" data-src="{src}" alt="{alt}"{more} loading="lazy">'
    return f'<img src="{src}" alt="{alt}"{more}>'


def filling(draw: random.Random, weight: int) -> str:
    """What pages hold beside their images: nested blocks, links, attributes, inline scripts and styles."""
    made: list[str] = []
    for _ in range(weight):
        w, x = draw.choices(WORDS, k=2)
        made.append(f'<div class="{words(draw, 3)}" data-{w}="{words(draw, 4)}" style="margin:0;width:{draw.randint(1, 99)}%">')
        made.append(
            f'<span><a href="/{w}/{x}?id={draw.randint(1, 10**6)}" title="{words(draw, 3)}">{words(draw, 5)}</a></span>'
        )
        made.append(f"<ul><li>{words(draw, 4)}</li><li><b>{w}</b> {words(draw, 6)}</li></ul><p>{words(draw, 25)}</p></div>")
        made.append(f"<script>window.{w}={json.dumps({x: words(draw, 12)})};</script>")
    return "".join(made)


def page(draw: random.Random, host: str, weight: int) -> str:
    """HTML around 40 images: about 30 kB, and 30 kB more for each further `weight`."""
    metas = "".join(f'<meta name="{w}" content="{words(draw, 6)}">' for w in draw.choices(WORDS, k=10))
    links = "".join(f'<link rel="stylesheet" href="/{w}.css">' for w in draw.choices(WORDS, k=6))
    og = f'<meta property="og:image" content="{address(draw, host)}">' if draw.random() < 0.6 else ""
    robots = '<meta name="robots" content="noai">' if draw.random() < 0.05 else ""
    script = f"<script>var a = {json.dumps({w: words(draw, 5) for w in draw.choices(WORDS, k=30)})};</script>"
    nav = "".join(f'<li class="nav-item"><a href="/{w}/">{w}</a></li>' for w in draw.choices(WORDS, k=60))
    cards = "".join(
        f'<div class="card"><a href="/{draw.choice(WORDS)}">{image(draw, host)}</a><h3>{words(draw, 6)}</h3>'
        f"<p>{words(draw, draw.randint(10, 60))} <em>{words(draw, 3)}</em></p>{filling(draw, weight - 1)}</div>\n"
        for _ in range(IMAGES)
    )
    head = f'<meta charset="utf-8"><title>{words(draw, 7)}</title>{metas}{links}{og}{robots}{script}'
    return f"<!doctype html><html><head>{head}</head><body><ul>{nav}</ul><main>{cards}</main></body></html>"


def record(kind: WarcRecordType, url: str, content: bytes, content_type: str) -> WarcRecord:
    made = WarcRecord()
    made.init_headers(record_type=kind)
    made.headers["WARC-Target-URI"] = url
    made.headers["Content-Type"] = content_type
    made.set_bytes_content(content)
    return made


def wat_of(url: str, html: str) -> bytes:
    """What Common Crawl's WAT tells of a page, as far as links are concerned."""
    tree = LexborHTMLParser(html)
    links: list[dict[str, Any]] = []
    for node in tree.css("a, img, link"):
        values = {name: value for name, value in node.attributes.items() if name in ("href", "src", "srcset", "alt", "rel")}
        link = {
            "path": f"{node.tag.upper()}@/{'src' if node.tag == 'img' else 'href'}",
            "url": values.get("src") or values["href"],
        }
        links.append(link | ({"alt": values["alt"]} if values.get("alt") else {}))
        if values.get("srcset"):
            links.append({"path": "IMG@/srcset", "url": values["srcset"]})
    metas = [dict(node.attributes) for node in tree.css("meta")]
    told = {"Head": {"Metas": metas, "Title": tree.css_first("title").text()}, "Links": links}
    response = {"Headers": {"Content-Type": "text/html"}, "HTML-Metadata": told, "Response-Message": {"Status": "200"}}
    payload = {"Actual-Content-Type": "application/http; msgtype=response", "HTTP-Response-Metadata": response}
    header = {"Header-Metadata": {"WARC-Type": "response", "WARC-Target-URI": url}, "Format": "WARC"}
    envelope = {"Format": "WARC", "WARC-Header-Metadata": header["Header-Metadata"], "Payload-Metadata": payload}
    return json.dumps({"Container": {"Compressed": True}, "Envelope": envelope}, separators=(",", ":")).encode()


def write_archives(folder: Path, pages: int, weight: int) -> tuple[Path, Path, int]:
    """A WARC and a WAT of the same pages, a gzip member for each record; and the mean bytes of a page."""
    draw, size = random.Random(11), 0
    warc, wat = folder / "pages.warc.gz", folder / "pages.warc.wat.gz"
    with warc.open("wb") as warc_file, wat.open("wb") as wat_file:
        for number in range(pages):
            host = f"{draw.choice(WORDS)}.example"
            url, html = f"https://www.{host}/{draw.choice(WORDS)}/{number}.html", page(draw, host, weight)
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(html)}\r\n\r\n"
            size += len(html)
            for file, made in (
                (warc_file, record(WarcRecordType.response, url, (head + html).encode(), "application/http; msgtype=response")),
                (wat_file, record(WarcRecordType.metadata, url, wat_of(url, html), "application/json")),
            ):
                plain, packed = io.BytesIO(), io.BytesIO()
                made.write(plain)
                writer = GzipWriter(packed, 6)
                writer.write(plain.getvalue())
                writer.close()
                file.write(packed.getvalue())
    return warc, wat, size // pages


def bare_warc(path: str) -> tuple[int, int]:
    """(pages, images) of the barest loop."""
    pages = images = 0
    for entry in ArchiveIterator(path, record_types=WarcRecordType.response, parse_http=True):
        tree = LexborHTMLParser(entry.reader.read())
        pages += 1
        for img in tree.css("img"):
            images += img.attributes.get("src") is not None
    return pages, images


def bare_wat(path: str) -> tuple[int, int]:
    """(pages, image links) of the barest loop."""
    pages = images = 0
    for entry in ArchiveIterator(path, record_types=WarcRecordType.metadata, parse_http=False):
        told = json.loads(entry.reader.read())
        pages += 1
        html = told["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]["HTML-Metadata"]
        for link in html["Links"]:
            images += link["path"] == "IMG@/src" and link.get("url") is not None
    return pages, images


def ours(path: str) -> tuple[int, int]:
    """(1, links): the links of a file, as tables."""
    units = plan_web("pool", path, path, {"size": Path(path).stat().st_size})
    return 1, sum(table.num_rows for unit in units for table in links_of(unit))


def seconds(work: Callable[[str], tuple[int, int]], path: str) -> tuple[float, int]:
    began = time.process_time()
    _, links = work(path)
    return time.process_time() - began, links


def compare(path: str, pages: int, bare: Callable[[str], tuple[int, int]], rounds: int) -> dict[str, Any]:
    """Pages per second of both ways, in turns, and the ratio of their medians."""
    took: dict[str, list[float]] = {"bare": [], "links_of": []}
    found: dict[str, int] = {}
    ours(path)  # what is imported on first use
    for _ in range(rounds):
        for name, work in (("bare", bare), ("links_of", ours)):
            spent, found[name] = seconds(work, path)
            took[name].append(spent)
    rates = {name: round(pages / statistics.median(times)) for name, times in took.items()}
    ratio = statistics.median(took["bare"]) / statistics.median(took["links_of"])
    each = [round(b / o, 3) for b, o in zip(took["bare"], took["links_of"], strict=True)]
    return {"pages_per_second": rates, "ratio": round(ratio, 3), "ratio_each_round": each, "links": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument(
        "--weight", type=int, default=4, help="4: about Common Crawl's 150 kB a page, less its largest; 1: light"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        warc, wat, size = write_archives(Path(scratch), options.pages, options.weight)
        found = {
            "pages": options.pages,
            "page_bytes": size,
            "warc": compare(str(warc), options.pages, bare_warc, options.rounds),
            "wat": compare(str(wat), options.pages, bare_wat, options.rounds),
        }
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
