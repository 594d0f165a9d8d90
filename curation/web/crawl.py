"""One part of a crawl: every URL to a row, politely, many hosts at once.

Each host has a queue and a few takers; a taker waits for the host's turn, fetches, and writes the row down. What a
crawler learns about a host (robots.txt, that it is down) stays with it from part to part; turns are shared by all.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from curation.decode import suffix
from curation.journal import Journal, Members
from curation.records import short_id
from curation.web.consent import KnownRobots, Robots, parse_robots
from curation.web.fetch import Fetched, Fetcher, fetch, robots_of
from curation.web.pace import FAR, HostClock
from curation.web.policy import CrawlPolicy
from curation.web.urls import Refused, host_of, origin_of

RESOLVERS = 64  # threads that look up names
DOWN = ("no_connection", "dns_error", "timeout", "tls_error", "connection_lost")
IGNORED = Robots("ignored")


@dataclass
class Item:
    """One URL of a part: its row number there, its row, and how often it was asked for."""

    row: int
    facts: dict[str, Any]
    attempts: int = 0

    @property
    def url(self) -> str:
        return self.facts["url"]


class Crawler:
    """What one process knows of the hosts it has met, and how it asks them. resolver: for tests of name look-ups."""

    def __init__(self, policy: CrawlPolicy, clock: HostClock, resolver: Callable[[], Any] | None = None) -> None:
        self.policy, self.clock, self.resolver = policy, clock, resolver
        self.robots = KnownRobots()
        self.failures = Counter[str]()  # of hosts that failed last

    def crawl(self, items: list[Item], journal: Journal) -> None:
        """Every item to its row in `journal`."""
        asyncio.run(self._crawl(items, journal))

    async def _crawl(self, items: list[Item], journal: Journal) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(RESOLVERS))
        queues: dict[str, deque[Item]] = defaultdict(deque)
        for item in items:
            queues[host_of(item.url)].append(item)
        self.asking: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.slots = asyncio.Semaphore(self.policy.concurrency)
        share = max(1, self.policy.concurrency // max(1, len(queues)))  # few takers use a connection again and again
        async with (
            Fetcher(self.policy, self.resolver() if self.resolver else None) as self.fetcher,
            asyncio.TaskGroup() as group,
        ):
            for host, queue in queues.items():
                for _ in range(min(self.policy.per_host, share, len(queue))):
                    group.create_task(self._take(host, queue, journal))

    async def _take(self, host: str, queue: deque[Item], journal: Journal) -> None:
        while queue:
            item = queue.popleft()
            began = time.time()
            item.attempts += 1
            found = await fetch(self.fetcher, item.url, self._permit)
            self._learn(found)
            if self._try_later(item, found):
                queue.appendleft(item)
                continue
            fields, members = as_row(item, found, self._verdict(found.final_url or item.url), began)
            journal.add(item.row, fields, members)

    async def _permit(self, url: str) -> asyncio.Semaphore:
        """The host's turn at `url`; Refused by the lists, its robots.txt, or where it is down or asks for too long a wait."""
        failures = self.failures[host_of(url)]
        if failures >= self.policy.host_failures:
            raise Refused("host_down", f"{failures} failures in a row")
        self.fetcher.judge(url)
        robots = await self._ask_robots(origin_of(url))
        if robots.verdict == "unreachable" and self.policy.robots_unreachable == "refuse":
            raise Refused("robots_unreachable", origin_of(url))
        if not robots.allows(url):
            raise Refused("robots_disallowed", origin_of(url))
        return await self._turn(url, robots.delay)

    async def _turn(self, url: str, least: float = 0.0) -> asyncio.Semaphore:
        """One of the slots, at a moment that is the host's turn. least: seconds that the host wants between requests."""
        host, delay = host_of(url), max(self.policy.delay, least)
        if delay > self.policy.max_wait:
            raise Refused("crawl_delay", f"{host} asks for {delay:g} s between requests")
        while True:
            wait = self.clock.free_at(host) - time.time()
            if wait > self.policy.max_wait:
                raise Refused("rate_limited", f"{host} asks to come back later")
            if wait > 0:
                await asyncio.sleep(wait)
            await self.slots.acquire()
            if self.clock.take(host, delay):  # not before there is a slot: turns would gather while they wait for one
                return self.slots
            self.slots.release()

    async def _ask_robots(self, origin: str) -> Robots:
        if self.policy.robots == "ignore":
            return IGNORED
        known = self.robots.get(origin)
        if known is None:
            async with self.asking[origin]:
                known = self.robots.get(origin)
                if known is None:
                    known = parse_robots(*await robots_of(self.fetcher, origin, self._turn))
                    self.robots.put(origin, known)
        return known

    def _verdict(self, url: str) -> str | None:
        known = IGNORED if self.policy.robots == "ignore" else self.robots.get(origin_of(url))
        return known.verdict if known else None

    def _learn(self, found: Fetched) -> None:
        """Count failures to connect in a row; an answer of any kind ends the row."""
        host = host_of(found.final_url or "///")
        if found.status is None and found.reason in DOWN:
            self.failures[host] += 1
        elif found.status is not None:
            self.failures.pop(host, None)

    def _try_later(self, item: Item, found: Fetched) -> bool:
        """Whether to ask again: once after a lost connection, which may have been an idle one that its host gave up; or
        when a busy host wants it. That one is held as long as it asks, or twice as long each time, if that is bearable."""
        if found.reason == "connection_lost" and found.status is None:
            return item.attempts <= min(1, self.policy.retries)
        if found.reason != "rate_limited" or found.status is None or item.attempts > self.policy.retries:
            return False
        wait = found.retry_after if found.retry_after is not None else 2.0**item.attempts * (0.5 + random.random())
        self.clock.hold(host_of(found.final_url or item.url), time.time() + min(wait, FAR))
        return wait <= self.policy.max_wait


def as_row(item: Item, found: Fetched, robots: str | None, began: float) -> tuple[dict[str, Any], Members]:
    """The values of a row of crawl_records.FETCHED that are known, and the files that go into the tar."""
    facts = {name: item.facts[name] for name in ("url_id", "url", "page", "caption") if item.facts[name] is not None}
    row = facts | {
        "status": found.status, "final_url": found.final_url, "redirects": found.redirects, "robots": robots,
        "content_type": _short(found.content_type), "opt_out": found.opt_out, "format": found.format,
        "attempts": item.attempts, "began": round(began, 3), "seconds": round(time.time() - began, 3),
        "drop_reason": found.reason, "error_message": _short(found.detail) if found.reason else None,
    }  # fmt: skip
    row = {name: value for name, value in row.items() if value is not None}
    if found.data is None:
        return row, []
    sha256 = hashlib.sha256(found.data).hexdigest()
    told = json.dumps(facts | {"final_url": found.final_url, "robots": robots}, sort_keys=True, ensure_ascii=False)
    name = f"{facts['url_id']}.{suffix(found.format or 'bin')}"
    members = [(name, found.data), (f"{facts['url_id']}.json", told.encode("utf-8", "replace"))]
    return row | {"sha256": sha256, "image_id": short_id(sha256)}, members


def _short(text: str | None) -> str | None:
    return None if text is None else text.encode("utf-8", "replace").decode()[:200]
