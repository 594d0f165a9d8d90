"""fetched: every address to an image or a reason, politely; RUN/images holds the images as WebDataset tars.

One row is safe as soon as it is done: a crawl that was killed asks no host twice for what it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from curation import crawl_records
from curation.journal import Journal
from curation.stage import JournalStage
from curation.web.policy import CrawlPolicy

if TYPE_CHECKING:  # aiohttp is an extra
    from curation.web.crawl import Crawler

CLOCK = ".hosts.clock"


def start(policy: CrawlPolicy, root: str) -> Crawler:
    """A crawler that shares its turns with all others of this crawl."""
    from curation.web.crawl import Crawler
    from curation.web.pace import HostClock

    return Crawler(policy, HostClock(f"{root}/{CLOCK}"))


def crawl(rows: pa.Table, journal: Journal, crawler: Crawler) -> None:
    """Ask for every address of the part that is not in the journal yet."""
    from curation.web.crawl import Item

    items = [Item(number, facts) for number, facts in enumerate(rows.to_pylist()) if number not in journal.done]
    crawler.crawl(items, journal)


STAGE = JournalStage(
    name="fetched",
    consumes=("urls",),
    version=1,
    setup=start,
    fn=crawl,
    schema=crawl_records.FETCHED,
    tar="images/{part:05d}.tar",
)
