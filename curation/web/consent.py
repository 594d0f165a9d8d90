"""What an owner wishes: robots.txt, X-Robots-Tag, meta robots and TDM reservations, read as the crawler named `agent`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

AGENT = "curate"  # the token that robots.txt and X-Robots-Tag know the crawler by
OPT_OUTS = ("noai", "noimageai", "noindex", "noimageindex")  # img2dataset's default list; `none` means noindex too
MAX_ROBOTS = 512 * 1024  # bytes of a robots.txt that are read (RFC 9309 asks for at least 500 KiB)


@dataclass(frozen=True)
class Robots:
    """A host's answer. verdict: "rules", "none" (there is no robots.txt) or "unreachable"."""

    verdict: str
    rules: Any = None

    def allows(self, url: str) -> bool:
        return self.rules is None or bool(self.rules.can_fetch(url, AGENT))

    @property
    def delay(self) -> float:
        """Seconds between requests that the host asks for (Crawl-delay or Request-rate); 0: none."""
        if self.rules is None:
            return 0.0
        rate = self.rules.request_rate(AGENT)
        return max(float(self.rules.crawl_delay(AGENT) or 0), rate.seconds / rate.requests if rate and rate.requests else 0.0)


def parse_robots(status: int, body: bytes) -> Robots:
    """RFC 9309: rules of a 2xx answer; any 4xx but 429 means there are none; all else is unreachable."""
    from protego import Protego

    if 200 <= status < 300:
        return Robots("rules", Protego.parse(body[:MAX_ROBOTS].decode("utf-8", "replace")))
    return Robots("none") if 400 <= status < 500 and status != 429 else Robots("unreachable")


def opt_out(headers: Iterable[tuple[str, str]], refusals: Iterable[str] = OPT_OUTS) -> str | None:
    """The directive of X-Robots-Tag headers or a TDM reservation that says no, as "header: directive"; or None."""
    refused = {word.lower() for word in refusals}
    for name, value in headers:
        lower = name.lower()
        if lower == "x-robots-tag":
            found = next((word for word in _directives(value) if word in refused), None)
            if found:
                return f"x-robots-tag: {found}"
        elif lower == "tdm-reservation" and value.strip() == "1" and "tdm-reservation" in refused:
            return "tdm-reservation: 1"
    return None


def meta_opt_out(metas: Mapping[str, str], refusals: Iterable[str] = OPT_OUTS) -> str | None:
    """The same for `<meta name=... content=...>` of a page; names are lower case."""
    refused = {word.lower() for word in refusals}
    for name in ("robots", AGENT, "googlebot-image"):
        found = next((word for word in _directives(metas.get(name, "")) if word in refused), None)
        if found:
            return f"meta {name}: {found}"
    reserved = metas.get("tdm-reservation", "").strip() == "1" and "tdm-reservation" in refused
    return "meta tdm-reservation: 1" if reserved else None


def _directives(value: str) -> list[str]:
    """The words that bind this crawler: those before any agent's name, and those after its own. `none` is noindex."""
    words: list[str] = []
    binds = True
    for part in value.lower().split(","):
        agent, colon, rest = part.strip().partition(":")
        if colon and agent.strip() not in ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"):
            binds, part = agent.strip() in (AGENT, "*"), rest
        if binds:
            words.append("noindex" if part.strip() == "none" else part.strip())
    return words
