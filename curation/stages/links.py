"""links and urls: from lists, pages and archives to the addresses that a crawl will ask, each once.

`links` finds and normalises (part by part) and refuses what must not be asked; `urls` merges equal addresses and orders
them so that every host is spread over the whole crawl: the first of every host, then the second, ...
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import pyarrow as pa

from curation import crawl_records, records
from curation.sources import SourceError, listed
from curation.stage import MapStage, WholeStage, derived
from curation.store import Parts
from curation.web import hosts
from curation.web.links import is_web, links_of, plan_web
from curation.web.urls import Refused, host_of, normalise

MEMORY = "1GB"  # that the merge of equal addresses may hold; the rest spills to disk


@dataclass(frozen=True, kw_only=True)
class LinksConfig:
    """How lists and archives are read."""

    url_column: str | None = None
    """Column of addresses in a table; found by its name if null."""
    caption_column: str | None = None
    """Column of captions in a table; found by its name if null."""
    part_urls: int = 0
    """Addresses per part of the crawl; 0: a 64th of all, between 1,000 and 20,000."""
    lists: tuple[str, ...] = derived()
    block: tuple[str, ...] = derived()
    allow: tuple[str, ...] = derived()
    opt_outs: tuple[str, ...] = derived()


def plan_crawl(_inputs: Mapping[str, Parts], cfg: LinksConfig) -> Iterator[tuple[int, pa.Table]]:
    """One part of records.SOURCES per list, archive, or piece of a long list. Raises SourceError."""
    units = [
        unit for source in cfg.lists for uri, key, info in _web_files(source) for unit in plan_web(records.POOL, uri, key, info)
    ]
    if not units:
        raise SourceError("nothing to crawl: name URL lists, WARC or WAT files")
    for number, unit in enumerate(units):
        yield number, pa.Table.from_pylist([unit], schema=records.SOURCES)


def lists_urls(source: str) -> bool:
    """Whether a source of a pool has to be crawled: by its name and content a list of URLs or a WAT archive."""
    if not source.lower().rstrip("/").endswith(_SUFFIXES):
        return False
    try:
        found = listed(source)
    except SourceError:
        return False
    return len(found) > 0 and all(is_web(uri) in ("urls", "wat") for uri, _, _ in found)


_SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".urls", ".parquet", ".wat", ".gz", ".zst")


def _web_files(source: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Files of links; one that is named by itself must be one."""
    found = listed(source)
    web = [one for one in found if is_web(one[0])]
    if not web:
        raise SourceError(f"no list of URLs and no WARC or WAT archive: {source}")
    return web


SOURCES = WholeStage(name="sources", consumes=(), version=1, fn=plan_crawl)


@dataclass(frozen=True)
class Lists:
    """The block and allow lists, loaded."""

    block: hosts.HostList
    allow: hosts.HostList


def load_lists(cfg: LinksConfig, _side: Mapping[str, pa.Table]) -> Lists:
    return Lists(hosts.load(cfg.block), hosts.load(cfg.allow))


def find(units: pa.Table, lists: Lists, cfg: LinksConfig) -> pa.Table:
    """Every link of the units (crawl_records.LINKS), normalised, or with the reason why it will not be asked."""
    tables = [crawl_records.LINKS.empty_table()]
    for unit in units.to_pylist():
        for table in links_of(unit, cfg.url_column, cfg.caption_column):
            tables.append(_judged(table, lists, frozenset(cfg.opt_outs)))
    return pa.concat_tables(tables)


def _judged(table: pa.Table, lists: Lists, opt_outs: frozenset[str]) -> pa.Table:
    """Links as they were read to crawl_records.LINKS; those that were read badly keep their reason."""
    rows = table.to_pylist()
    for row in rows:
        if row["drop_reason"] is None:
            row["url"], row["drop_reason"], row["error_message"] = _judge(row["url"], row["opt_out"], lists, opt_outs)
    return pa.Table.from_pylist(rows, schema=crawl_records.LINKS)


def _judge(url: str, wish: str | None, lists: Lists, opt_outs: frozenset[str]) -> tuple[str, str | None, str | None]:
    try:
        clean = normalise(url)
        hosts.judge(clean, lists.block, lists.allow)
    except Refused as refusal:
        return url, refusal.reason, refusal.detail
    if any(_forbids(one, opt_outs) for one in (wish or "").split("; ")):
        return clean, "opt_out", wish
    return clean, None, None


def _forbids(wish: str, opt_outs: frozenset[str]) -> bool:
    """Whether a wish, as "meta robots: noai" or "tdm-reservation: 1", is one that the policy honours."""
    name, _, directive = wish.rpartition(": ")
    return directive in opt_outs or (
        directive == "1" and name.split()[-1:] == ["tdm-reservation"] and "tdm-reservation" in opt_outs
    )


LINKS = MapStage(name="links", consumes=("sources",), version=1, setup=load_lists, fn=find, batch_rows=1 << 30)


def frontier(inputs: Mapping[str, Parts], cfg: LinksConfig) -> Iterator[tuple[int, pa.Table]]:
    """crawl_records.URLS: every address once, `part_urls` a part."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="curate-urls-") as folder, duckdb.connect(f"{folder}/urls.db") as database:
        database.execute("set memory_limit = $limit", {"limit": MEMORY})
        database.execute("set temp_directory = $folder", {"folder": folder})
        database.register("part", _with_ids(crawl_records.LINKS.empty_table(), 0))
        database.execute("create table links as select * from part")
        for part, table in inputs["links"].kept():
            database.register("part", _with_ids(table, part))
            database.execute("insert into links select * from part")
        database.execute(resources.files("sql").joinpath("stages", "frontier.sql").read_text(encoding="utf-8"))
        rows: Any = database.execute("select count(*) from frontier").fetchone()
        size = cfg.part_urls or min(20_000, max(1_000, -(-rows[0] // 64)))
        for part in range(max(1, -(-rows[0] // size))):
            bounds = {"first": part * size, "end": (part + 1) * size}
            chosen: Any = database.execute(_PART, bounds).to_arrow_table()
            yield part, chosen.cast(crawl_records.URLS)


_PART = (
    "select url_id, url, host, mentions, page, caption, source from frontier where turn >= $first and turn < $end order by turn"
)


def _with_ids(table: pa.Table, part: int) -> pa.Table:
    """What the merge needs of crawl_records.LINKS: its key, host, and place in the order of the lists."""
    urls = table["url"].to_pylist()
    return pa.table(
        {
            "url_id": pa.array([records.short_id(hashlib.sha256(url.encode()).hexdigest()) for url in urls], pa.string()),
            "url": table["url"],
            "host": pa.array([host_of(url) for url in urls], pa.string()),
            "page": table["page"],
            "caption": table["caption"],
            "source": table["source"],
            "place": pa.array([(part << 40) + row for row in range(len(urls))], pa.int64()),
        }
    )


URLS = WholeStage(name="urls", consumes=("links",), version=1, fn=frontier)
