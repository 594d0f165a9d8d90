"""One URL to the bytes of an image, or to the reason why not: bounded in time, bytes, redirects and addresses."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import re
import ssl
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import yarl

from curation.web import hosts
from curation.web.address import AddressRefused, refused, socket_factory
from curation.web.body import Held, image_kind, read_body
from curation.web.consent import MAX_ROBOTS, opt_out
from curation.web.policy import CrawlPolicy
from curation.web.urls import Refused, host_of, normalise

REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = {"Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What became of a URL. reason: null where `data` is an image, else a stable error class."""

    status: int | None = None
    reason: str | None = None
    detail: str | None = None
    final_url: str | None = None
    redirects: int = 0
    content_type: str | None = None
    format: str | None = None
    opt_out: str | None = None
    retry_after: float | None = None
    data: bytes | None = None


class Fetcher:
    """A session with all its walls. Use as an async context manager, one per crawler."""

    def __init__(self, policy: CrawlPolicy, resolver: Any = None) -> None:
        self.policy, self.resolver = policy, resolver
        self.networks = tuple(ipaddress.ip_network(net) for net in policy.networks)
        self.block, self.allow = hosts.load(policy.block), hosts.load(policy.allow)

    async def __aenter__(self) -> Fetcher:
        self.held = Held()
        connector = aiohttp.TCPConnector(
            limit=self.policy.concurrency,
            resolver=self.resolver,
            ttl_dns_cache=300,
            socket_factory=socket_factory(self.networks),
        )
        self.session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS | {"User-Agent": self.policy.agent},
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            max_line_size=self.policy.max_header_bytes,
            max_field_size=self.policy.max_header_bytes,
            trust_env=False,  # behind a proxy the address that is connected to could not be checked
        )
        # aiohttp asks again at once where a connection is lost, which a host that has turns is spared
        self.session._retry_connection = not self.policy.delay  # pyright: ignore[reportPrivateUsage]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    def judge(self, url: str) -> None:
        """Raises Refused for a URL that may not be asked: by the lists, or a literal address that is not public."""
        if self.block or self.allow:
            hosts.judge(url, self.block, self.allow)
        literal = host_of(url)
        why = refused(literal, self.networks) if _is_address(literal) else None
        if why:
            raise Refused("blocked_address", why)

    async def get(self, url: str, most: int, seconds: float, *, robots: bool = False) -> Fetched:
        """One request, of a judged URL, without redirects: at most `most` bytes and `seconds`. Errors become reasons.

        robots: what is wanted is no image but rules: any 2xx has them, and no wish of the owner keeps them from being read.
        """
        facts = Fetched(final_url=url)
        try:
            async with asyncio.timeout(seconds), self.session.get(_target(url), allow_redirects=False) as response:
                facts = _facts(url, response, () if robots else self.policy.opt_outs)
                if facts.reason == "http_error" and robots and response.status < 300:
                    facts = replace(facts, reason=None)
                if facts.reason:
                    response.close()
                    return facts
                return replace(facts, data=await read_body(response, most, self.held))
        except Refused as refusal:
            return replace(facts, reason=refusal.reason, detail=refusal.detail)
        except Exception as error:  # of the network, the protocol, or a library at odds with what a server sent
            return replace(facts, reason=error_class(error), detail=f"{type(error).__name__}: {error}"[:200])


def _target(url: str) -> yarl.URL:
    target = yarl.URL(url, encoded=True)
    if (target.raw_host or "").rstrip(".") != host_of(url):
        raise Refused("bad_url", "its host can be read in two ways")
    return target


def _facts(url: str, response: aiohttp.ClientResponse, refusals: tuple[str, ...]) -> Fetched:
    """What a response's head says; without a reason where its body may be an image."""
    facts = Fetched(
        status=response.status,
        content_type=response.headers.get("Content-Type"),
        final_url=url,
        opt_out=opt_out(response.headers.items(), refusals),
        retry_after=_seconds(response.headers.get("Retry-After")),
    )
    if response.status in REDIRECTS:
        return replace(facts, reason="redirect", detail=_escaped(response.headers.get("Location", "")))
    if response.status != 200:
        return replace(facts, reason=status_class(response.status), detail=f"HTTP {response.status}")
    return replace(facts, reason="opt_out", detail=facts.opt_out) if facts.opt_out else facts


Turn = Callable[[str], Awaitable[asyncio.Semaphore]]
"""Waits until a URL may be asked, and gives what has to be released afterwards. Raises Refused where it may not."""


async def fetch(fetcher: Fetcher, url: str, turn: Turn) -> Fetched:
    """A URL to its end, over its redirects. Waiting for turns takes none of the deadline."""
    policy, left, seen = fetcher.policy, fetcher.policy.deadline, {url}
    loop = asyncio.get_running_loop()
    found = Fetched()
    for hop in range(policy.max_redirects + 1):
        try:
            held = await turn(url)
        except Refused as refusal:
            return Fetched(reason=refusal.reason, detail=refusal.detail, final_url=url, redirects=hop)
        began = loop.time()
        try:
            found = await fetcher.get(url, policy.max_bytes, left)
        finally:
            held.release()
        left -= loop.time() - began
        found = replace(found, redirects=hop) if hop else found
        if found.reason != "redirect":
            return found if found.data is None else sniffed(found, found.data, policy.max_pixels)
        try:
            url = normalise(found.detail or "", url)
        except Refused as refusal:
            return replace(found, reason=refusal.reason, detail=refusal.detail)
        if url in seen:
            return replace(found, reason="redirect_loop", detail=url)
        if left <= 0:
            return replace(found, reason="timeout", detail="redirects took all the time")
        seen.add(url)
    return replace(found, reason="too_many_redirects", detail=f"more than {policy.max_redirects}")


async def robots_of(fetcher: Fetcher, origin: str, turn: Turn) -> tuple[int, bytes]:
    """Status and body of a host's robots.txt, five redirects followed (RFC 9309); status 0: it cannot be had."""
    url = f"{origin}/robots.txt"
    for _ in range(6):
        try:
            fetcher.judge(url)
        except Refused:
            return 0, b""
        held = await turn(url)
        try:
            found = await fetcher.get(url, MAX_ROBOTS, fetcher.policy.deadline, robots=True)
        finally:
            held.release()
        if found.reason == "too_many_bytes":
            return 200, b"User-agent: *\nDisallow: /"  # who sends half a megabyte of rules is taken to mean no
        if found.data is not None:
            return 200, found.data
        if found.reason != "redirect":
            return (found.status or 0) if found.reason == status_class(found.status or 0) else 0, b""
        try:
            url = normalise(found.detail or "", url)
        except Refused:
            return 0, b""
    return 0, b""


def sniffed(found: Fetched, data: bytes, max_pixels: int) -> Fetched:
    """`found` if its bytes begin as an image of a sane size, else its reason."""
    try:
        kind, pixels = image_kind(data)
        if pixels > max_pixels:
            raise Refused("too_many_pixels", f"{pixels} pixels")
    except Refused as refusal:
        detail = f"{found.content_type}: {refusal.detail}" if refusal.reason == "not_an_image" else refusal.detail
        return replace(found, data=None, reason=refusal.reason, detail=detail)
    return replace(found, format=kind)


def _is_address(host: str) -> bool:
    if not (host[-1:].isdigit() or ":" in host):
        return False
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _escaped(location: str) -> str:
    """A Location whose bytes are no UTF-8, which aiohttp gives as half surrogates, with these bytes as %XX."""
    return re.sub("[\udc80-\udcff]", lambda found: f"%{ord(found[0]) - 0xDC00:02X}", location)


def _seconds(value: str | None) -> float | None:
    """A Retry-After header: seconds, or a date."""
    if value is None:
        return None
    if re.fullmatch(r"\s*[0-9]+\s*", value):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
        return max(0.0, (when - datetime.datetime.now(when.tzinfo)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None


def status_class(status: int) -> str:
    """The error class of a status that is neither 200 nor a redirect."""
    if status in (404, 410):
        return "not_found"
    if status in (401, 402, 403, 407, 451):
        return "forbidden"
    if status in (429, 503):
        return "rate_limited"
    return "server_error" if status >= 500 else "http_error"


def error_class(error: BaseException) -> str:
    """The stable name of what a connection can die of."""
    cause = getattr(error, "os_error", None) or error.__cause__ or error
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, AddressRefused) or isinstance(cause, AddressRefused):
        return "blocked_address"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns_error"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError) or isinstance(cause, ssl.SSLError):
        return "tls_error"
    if isinstance(error, aiohttp.ClientPayloadError | zlib.error):
        return "incomplete_body"
    if isinstance(error, aiohttp.ClientConnectorError | ConnectionRefusedError):
        return "no_connection"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | OSError):
        return "connection_lost"
    return "bad_response"
