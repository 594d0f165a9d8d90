"""Links out of WAT files: what Common Crawl has read from the pages of a WARC, one JSON object for each record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from curation.web.pages import MAX_LINKS, METAS, ROBOTS, Page, based, largest, refusals
from curation.web.resolve import resolve
from curation.web.warc import ENDS, records

MAX_JSON = 1 << 26  # bytes of one record
_TAGS = {
    "IMG@/src": "img@src",
    "IMG@/data-src": "img@data-src",
    "IMG@/srcset": "img@srcset",
    "IMG@/data-srcset": "img@data-srcset",
    "SOURCE@/srcset": "source@srcset",
}
_CONSENT = ("x-robots-tag", "tdm-reservation")


class WatRecord(NamedTuple):
    """offset: of the record. page: its links; None if there is a reason. size: bytes of JSON."""

    offset: int
    url: str | None = None
    page: Page | None = None
    size: int = 0
    reason: str | None = None
    detail: str | None = None


def wat_links(uri: str) -> Iterator[WatRecord]:
    """The links of every page of a WAT file, resolved as those of HTML are; and what is broken, with a reason.

    Raises OSError if the file cannot be opened, ImportError if FastWARC is not installed.
    """
    for offset, record, why in records(uri):
        if record is None:
            if why:
                yield WatRecord(offset, reason="truncated_archive" if why.startswith(ENDS) else "bad_record", detail=why)
            continue
        data = record.reader.read(MAX_JSON + 1)
        if data[:1] != b"{" or len(data) < record.content_length:
            continue
        try:
            found = read_wat(data)
        except (ValueError, RecursionError, TypeError, AttributeError, KeyError) as error:
            yield WatRecord(offset, reason="bad_record", detail=f"not a WAT record: {type(error).__name__}")
            continue
        if found:
            yield WatRecord(offset, found[0], found[1], len(data))


def read_wat(data: bytes) -> tuple[str, Page] | None:
    """(URL, links) of one record; None for those that tell of no HTML page. Raises ValueError, TypeError, ... if broken."""
    envelope = json.loads(str(data, "utf-8", "replace"))["Envelope"]
    response = envelope["Payload-Metadata"].get("HTTP-Response-Metadata")
    html = response.get("HTML-Metadata") if response else None
    if not html:
        return None
    page = envelope["WARC-Header-Metadata"].get("WARC-Target-URI") or ""
    head = html.get("Head") or {}
    raw: list[str] = []
    tags: list[str] = []
    alts: list[str | None] = []
    wishes = _metas(head.get("Metas") or (), raw, tags)
    raw += [link["url"] for link in head.get("Link") or () if link.get("rel") == "image_src" and "url" in link]
    tags += ["link@image_src"] * (len(raw) - len(tags))
    alts += [None] * len(raw)
    for link in html.get("Links") or ():
        tag = _TAGS.get(link["path"])
        if tag and (url := link.get("url")):
            raw.append(largest(url) if tag[-6:] == "srcset" else url)
            tags.append(tag)
            alts.append(link.get("alt"))
    return page, _page(page, head.get("Base"), raw, tags, alts, wishes, response.get("Headers") or {})


def _page(
    url: str,
    base: Any,
    raw: list[str],
    tags: list[str],
    alts: list[str | None],
    wishes: dict[str, str],
    headers: dict[str, Any],
) -> Page:
    """The lists as a page, cut to MAX_LINKS."""
    given = [(name, text) for name, value in headers.items() if name.lower() in _CONSENT for text in _texts(value)]
    asked = refusals(wishes, given) if wishes or given else None
    where = based(url, base) if isinstance(base, str) and base else url
    trouble = f"{len(raw)} links, of which the first {MAX_LINKS} are kept" if len(raw) > MAX_LINKS else None
    return Page(resolve(raw[:MAX_LINKS], where), tags[:MAX_LINKS], alts[:MAX_LINKS], asked, trouble)


def _metas(metas: Any, raw: list[str], tags: list[str]) -> dict[str, str]:
    """Images of a page's metas, put among `raw` and `tags`; returns its wishes."""
    wishes: dict[str, str] = {}
    for meta in metas:
        name = (meta.get("property") or meta.get("name") or "").lower()
        if name in METAS:
            raw.append(meta.get("content") or "")
            tags.append(f"meta@{name}")
        elif name in ROBOTS:
            wishes[name] = ",".join(filter(None, (wishes.get(name), meta.get("content"))))
    return wishes


def _texts(value: Any) -> list[str]:
    return [str(one) for one in (value if isinstance(value, list) else [value])]
