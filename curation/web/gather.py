"""Links of many pages gathered into tables: as columns, not one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.web.pages import MAX_ALT, Page

ROWS = 10_000  # of one table
HELD_BYTES = 1 << 25  # of pages whose links are held


class Gathered:
    """Pages until there are enough for a table of `schema` (links.LINKS)."""

    def __init__(self, source: str, schema: pa.Schema) -> None:
        self.source, self.schema = source, schema
        self._clear()

    def _clear(self) -> None:
        self.urls: list[str | None] = []
        self.tags: list[str] = []
        self.alts: list[str | None] = []
        self.counts: list[int] = []
        self.pages: list[tuple[str, int, str | None]] = []
        self.lost: list[dict[str, Any]] = []
        self.held = 0

    def add(self, page: Page, url: str, row: int, size: int) -> Iterator[pa.Table]:
        """Takes the links of one page; gives what was gathered before if both together are too many. size: of the page."""
        if len(self.urls) + len(page.urls) + len(self.lost) + 1 > ROWS or self.held + size > HELD_BYTES:
            yield from self.tables()
        if page.trouble:
            self.lost.append({"page": url, "row": row, "drop_reason": "page_cut", "error_message": page.trouble})
        self.urls += page.urls
        self.tags += page.tags
        self.alts += page.alts
        self.counts.append(len(page.urls))
        self.pages.append((url, row, page.opt_out))
        self.held += size

    def lose(self, row: int, page: str | None, reason: str, detail: str | None) -> Iterator[pa.Table]:
        """Takes a record that gave no links."""
        if len(self.urls) + len(self.lost) + 1 > ROWS:
            yield from self.tables()
        self.lost.append({"page": page, "row": row, "drop_reason": reason, "error_message": detail})

    def tables(self) -> Iterator[pa.Table]:
        """What is held, and nothing is any more: links in their order, then what gave none."""
        links = self._links() if self.urls else None
        lost = pa.Table.from_pylist([{"source": self.source} | row for row in self.lost], schema=self.schema)
        self._clear()
        yield from (table for table in (links, lost) if table is not None and table.num_rows)

    def _links(self) -> pa.Table:
        urls, rows, opt_outs = zip(*self.pages, strict=True)
        page = pa.array(np.repeat(np.arange(len(urls)), self.counts))
        alts = _texts(self.alts)
        if (pc.max(pc.binary_length(alts)).as_py() or 0) > MAX_ALT:
            alts = pc.utf8_slice_codeunits(alts, 0, MAX_ALT)
        columns = {
            "url": _texts(self.urls),
            "page": pc.take(_texts(urls), page),
            "source": pa.repeat(self.source, len(page)),
            "row": pc.take(pa.array(rows, pa.int64()), page),
            "tag": pa.array(self.tags, pa.string()),
            "caption": pc.if_else(pc.equal(alts, ""), None, alts),
            "opt_out": pc.take(pa.array(opt_outs, pa.string()), page),
        }
        table = pa.table([columns.get(f.name, pa.nulls(len(page), f.type)) for f in self.schema], schema=self.schema)
        return table.filter(pc.is_valid(table["url"])) if table["url"].null_count else table


def _texts(values: Sequence[str | None]) -> pa.Array:
    """Strings as a column; lone surrogates, which no column can hold, become question marks."""
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return pa.array([value and value.encode("utf-8", "replace").decode() for value in values], pa.string())
