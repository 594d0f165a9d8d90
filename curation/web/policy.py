"""How a crawl behaves: whom it says it is, whose wishes it honours, how often it asks, how much it takes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from curation.web.consent import AGENT, OPT_OUTS


@dataclass(frozen=True, kw_only=True)
class CrawlPolicy:
    """Defaults are the careful ones; every loosening has to be written into the recipe."""

    contact: str = ""
    """A mail address or page that a host's owner can turn to; goes into the user agent. A crawl without one is refused."""
    robots: str = "obey"
    """"obey" robots.txt, or "ignore" it."""
    robots_unreachable: str = "refuse"
    """What is done where robots.txt cannot be had (5xx, time-out, no connection): "refuse" the host's URLs, or "allow"."""
    opt_outs: tuple[str, ...] = (*OPT_OUTS, "tdm-reservation")
    """Directives of X-Robots-Tag, meta robots and TDM-Reservation that keep an image out."""
    rate: float = 2.0
    """Requests per second to one host, all crawlers together; a longer Crawl-delay of the host wins. 0: no limit."""
    per_host: int = 2
    """Requests to one host at the same time, in one crawler."""
    concurrency: int = 256
    """Requests at the same time, in one crawler."""
    deadline: float = 30.0
    """Seconds that one URL may take from connecting to its last byte, redirects included."""
    max_wait: float = 300.0
    """Longest Crawl-delay or Retry-After that is waited for, seconds; URLs of a host that asks for more are refused."""
    retries: int = 2
    """Further attempts after 429 or 503; after a lost connection there is one, unless this is 0."""
    host_failures: int = 20
    """Failures to connect in a row after which a host counts as down."""
    max_bytes: int = 64 * 2**20
    """Body bytes above which a response is given up."""
    max_pixels: int = 178_956_970
    """Pixels above which an image is given up."""
    max_redirects: int = 5
    max_header_bytes: int = 16 * 2**10
    """Of one header line; there may be 128 of them."""
    block: tuple[str, ...] = ()
    """Files or folders of hosts, URL prefixes and patterns that are never asked."""
    allow: tuple[str, ...] = ()
    """The same, of which one must fit; empty: any host."""
    networks: tuple[str, ...] = ()
    """Networks that may be connected to though they are not public, as 127.0.0.0/8; for tests and private mirrors."""
    alarm_below: float = 0.5
    """Share of successes under which a crawl warns, from its first 200 URLs on."""

    def __post_init__(self) -> None:
        _one_of("robots", self.robots, ("obey", "ignore"))
        _one_of("robots_unreachable", self.robots_unreachable, ("refuse", "allow"))
        for name in ("per_host", "concurrency", "deadline", "max_bytes", "max_pixels", "host_failures", "max_header_bytes"):
            _at_least(name, getattr(self, name), 1)
        for name in ("rate", "max_wait", "retries", "max_redirects", "alarm_below"):
            _at_least(name, getattr(self, name), 0)
        for net in self.networks:
            ipaddress.ip_network(net)
        if not self.contact.isprintable() or not self.contact.isascii():
            raise ValueError(f"contact must be plain ASCII text, not {self.contact!r}")

    @property
    def agent(self) -> str:
        """The user agent: the crawler's own name, and whom to turn to."""
        return f"{AGENT}/0.1 (+{self.contact})" if self.contact else f"{AGENT}/0.1"

    @property
    def delay(self) -> float:
        """Seconds between requests to one host: a quarter more than `rate` says, so that with the jitter of busy machines too
        no second sees more requests than that."""
        return 1.25 / self.rate if self.rate else 0.0


def _one_of(name: str, value: Any, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ValueError(f"{name} must be {' or '.join(options)}, not {value!r}")


def _at_least(name: str, value: float, least: float) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
