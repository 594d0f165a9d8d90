"""The Arrow schema of every noun of a crawl; `sources` is that of a run."""

from __future__ import annotations

import pyarrow as pa

from curation.records import BYTES_REF, IMAGE_ID, VERDICT, column

LINKS = pa.schema(
    [
        column("url", pa.string(), "address as found, resolved; as fetched once it is normalised"),
        column("page", pa.string(), "address of the page that links to it"),
        column("source", pa.string(), "list or archive it was found in"),
        column("row", pa.int64(), "line or row of a list, byte offset of a record in an archive"),
        column("tag", pa.string(), "element or field that holds it"),
        column("caption", pa.string(), "alternative text, or a caption column"),
        column("extra", pa.string(), "other columns of a list, one JSON object"),
        column("opt_out", pa.string(), "the page's directive against its use"),
        *VERDICT,
    ]
)
"""One row is one link of a page, or one row of a URL list."""

URLS = pa.schema(
    [
        column("url_id", pa.string(), "first 128 bits of the SHA-256 of the URL, 32 hex characters"),
        column("url", pa.string(), "the address that is fetched"),
        column("host", pa.string(), "its host"),
        column("mentions", pa.int64(), "links that lead to it"),
        column("page", pa.string(), "the page of the first of them"),
        column("caption", pa.string(), "the first caption among them"),
        column("source", pa.string(), "list or archive of the first of them"),
    ]
)
"""One row is one address to fetch, in an order that spreads every host over the whole crawl."""

FETCHED = pa.schema(
    [
        column("url_id", pa.string(), "as in urls"),
        column("url", pa.string(), "the address that was asked for"),
        IMAGE_ID,
        column("sha256", pa.string(), "SHA-256 of the body"),
        column("status", pa.int32(), "HTTP status of the last answer; null: there was none"),
        column("final_url", pa.string(), "the address that answered, after redirects"),
        column("redirects", pa.int32(), "redirects followed"),
        column("content_type", pa.string(), "as the server says"),
        column("format", pa.string(), "JPEG, PNG, ... as the bytes say"),
        column("robots", pa.string(), "robots.txt of the host: rules, none, unreachable, ignored; null: not asked"),
        column("opt_out", pa.string(), "the directive that keeps it out"),
        column("attempts", pa.int32(), "times it was asked for"),
        column("began", pa.float64(), "start of the last attempt, seconds since the epoch"),
        column("seconds", pa.float32(), "from its host's queue to its last byte"),
        column("page", pa.string(), "as in urls"),
        column("caption", pa.string(), "as in urls"),
        *BYTES_REF,
        column("tar_end", pa.int64(), "where its members end in the tar"),
        *VERDICT,
    ]
)
"""One row is one address and what became of it; null `drop_reason`: an image, in images/NNNNN.tar of the crawl."""

CRAWL_NOUNS: dict[str, str] = {
    "sources": "lists and archives",
    "links": "links found",
    "urls": "addresses to fetch",
    "fetched": "answers",
}
"""Every noun of a crawl, in the order of its flow."""
