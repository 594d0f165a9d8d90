"""From the HTML of a page to the images it links to, and to what it asks of crawlers.

Every address an element offers is a link: src and data-src (one of them may be a placeholder), and the largest candidate
of srcset and data-srcset. What a page can cost is bounded: see bounds.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from curation.web.bounds import bounded
from curation.web.consent import OPT_OUTS, meta_opt_out, opt_out
from curation.web.resolve import resolve

MAX_LINKS = 10_000
MAX_ALT = 2000  # characters; the rest is cut
MAX_SRCSET = 1 << 16
DIRECTIVES = (*OPT_OUTS, "tdm-reservation")
_SELECTOR = (
    "img,source:not([src]),link[rel~=image_src i][href],base[href],meta[content]:is([property^='og:image' i],"
    "[name^='og:image' i],[property^='twitter:image' i],[name^='twitter:image' i],[name=robots i],[name=curate i],"
    "[name=googlebot-image i],[name=tdm-reservation i])"
)
METAS = ("og:image", "og:image:url", "og:image:secure_url", "twitter:image", "twitter:image:src")
ROBOTS = ("robots", "curate", "googlebot-image", "tdm-reservation")
_LATE = (("srcset", "img@srcset"), ("data-src", "img@data-src"), ("data-srcset", "img@data-srcset"))
_CANDIDATE = re.compile(r"[\s,]*(\S*[^\s,])(?:,|\s*\Z|\s+([^,]*)(?:,|\Z))")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)[wx]")


class Link(NamedTuple):
    """url: absolute. tag: element and attribute, as img@src. alt: None if it has none."""

    url: str
    tag: str
    alt: str | None


@dataclass
class Page:
    """Links as three lists of equal length; a url is None where none can be had (data: URIs, empty texts).

    opt_out: as "meta robots: noai". trouble: what was left out, in words.
    """

    urls: list[str | None] = field(default_factory=list[str | None])
    tags: list[str] = field(default_factory=list[str])
    alts: list[str | None] = field(default_factory=list[str | None])
    opt_out: str | None = None
    trouble: str | None = None

    @property
    def links(self) -> list[Link]:
        each = zip(self.urls, self.tags, self.alts, strict=True)
        return [Link(url, tag, (alt or "")[:MAX_ALT] or None) for url, tag, alt in each if url]


def page_links(html: bytes, url: str, charset: str | None = None, headers: Iterable[tuple[str, str]] = ()) -> Page:
    """The image links of one page in the order of the page. Never raises, whatever the bytes are.

    url: the page's own. charset: of its Content-Type header; else the page's mark or <meta> tells, else UTF-8. headers:
    those of the response, for X-Robots-Tag and TDM-Reservation.
    """
    tree, trouble = _parse(html, charset)
    raw: list[str] = []
    tags: list[str] = []
    alts: list[str | None] = []
    metas: dict[str, str] = {}
    base: str | None = None
    for node in tree.css(_SELECTOR):
        found = node.attributes
        src = found.get("src")
        if src or node.tag == "img":
            if src and src[:5] != "data:":
                raw.append(src)
                tags.append("img@src")
                alts.append(found.get("alt"))
            if "srcset" in found or "data-src" in found or "data-srcset" in found:
                _late(found, src, raw, tags, alts)
        elif node.tag == "base":
            base = found["href"] or "" if base is None else base
        else:
            _other(node.tag, found, raw, tags, metas)
            if len(alts) < len(raw):
                alts.append(None)
    if len(raw) > MAX_LINKS:
        trouble = f"{len(raw)} links, of which the first {MAX_LINKS} are kept"
        raw, tags, alts = raw[:MAX_LINKS], tags[:MAX_LINKS], alts[:MAX_LINKS]
    asked = refusals(metas, headers) if metas or headers else None
    return Page(resolve(raw, based(url, base) if base else url), tags, alts, asked, trouble)


def _parse(html: bytes, charset: str | None) -> tuple[Any, str | None]:
    end = bounded(html)
    trouble = f"read to byte {end} of {len(html)}" if end < len(html) else None
    text: bytes | str = html[:end] if trouble else html
    if charset and charset.lower() not in ("utf-8", "utf8", "utf_8"):
        try:
            text = bytes(text).decode(charset, "replace").encode("utf-8", "replace")
        except (LookupError, ValueError):
            charset = None
    return _parser()(text, options=1, encoding=not charset), trouble


@cache
def _parser() -> Any:
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError as error:
        raise ImportError("pages need selectolax: install curate[crawl]") from error
    return LexborHTMLParser


def _late(found: dict[str, str | None], src: str | None, raw: list[str], tags: list[str], alts: list[str | None]) -> None:
    """What an <img> offers beside its src, each address once."""
    seen = [src]
    for name, tag in _LATE:
        value = found.get(name)
        if value:
            one = value if name == "data-src" else largest(value)
            if one and one not in seen:
                seen.append(one)
                raw.append(one)
                tags.append(tag)
                alts.append(found.get("alt"))


def _other(tag: str, found: dict[str, str | None], raw: list[str], tags: list[str], metas: dict[str, str]) -> None:
    """What a <source>, <link> or <meta> offers; a wish is put among `metas`."""
    if tag == "source":
        raw.append(largest(found.get("srcset") or found.get("data-srcset") or ""))
        tags.append("source@srcset")
    elif tag == "link":
        raw.append(found["href"] or "")
        tags.append("link@image_src")
    else:
        name = (found.get("property") or found.get("name") or "").lower()
        if name in METAS:
            raw.append(found["content"] or "")
            tags.append(f"meta@{name}")
        elif name in ROBOTS:
            metas[name] = ",".join(filter(None, (metas.get(name), found["content"])))


def based(url: str, base: str) -> str:
    """What links are relative to: `<base href>` if it is usable, itself relative to the page."""
    return resolve([base], url)[0] or url


def largest(srcset: str) -> str:
    """The URL of the candidate with the largest w or x; "" if there is none. A URL may hold commas, not end in one.

    Source: https://html.spec.whatwg.org/#parse-a-srcset-attribute; differs: descriptors that are not valid count as 1x.
    """
    try:
        each = [part.split(" ") for part in srcset.split(", ")]
        sizes = [float(size[:-1]) for _, size in each]
        url = each[sizes.index(max(sizes))][0]
        if url and url[:5] != "data:" and all(size[-1] in "wx" for _, size in each):
            return url
    except ValueError:
        pass
    best, most = "", -1.0
    for url, told in _CANDIDATE.findall(srcset[:MAX_SRCSET]):
        size = _SIZE.match(told)
        own = float(size[1]) if size else 1.0
        if own > most and url[:5].lower() != "data:":
            best, most = url, own
    return best


def refusals(metas: dict[str, str], headers: Iterable[tuple[str, str]]) -> str | None:
    """Every directive that a page's headers and metas hold, as "x-robots-tag: noai; meta robots: noindex"; or None."""
    given = list(headers)
    by_header = [opt_out(given, (word,)) for word in DIRECTIVES] if given else []
    by_meta = [meta_opt_out(metas, (word,)) for word in DIRECTIVES] if metas else []
    return "; ".join(found for found in (*by_header, *by_meta) if found) or None
