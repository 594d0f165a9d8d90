"""What an owner wishes: robots.txt, X-Robots-Tag, meta robots and TDM reservations, read as the crawler named `agent`."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

AGENT = "curate"  # the token that robots.txt and X-Robots-Tag know the crawler by
OPT_OUTS = ("noai", "noimageai", "noindex", "noimageindex")  # img2dataset's default list; `none` means noindex too
MAX_ROBOTS = 512 * 1024  # bytes of a robots.txt that are read (RFC 9309 asks for at least 500 KiB)
FRESH = 86_400.0  # seconds that a robots.txt is believed
ROOM, LEAST = 64 << 20, 1 << 10  # bytes of robots.txt that are remembered (they take some 30 times that), and least for each
_VALUED = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")


@dataclass(frozen=True)
class Robots:
    """A host's answer. verdict: "rules", "none" (there is no robots.txt) or "unreachable"."""

    verdict: str
    rules: Any = None
    size: int = 0
    """Bytes of the file."""

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
        text = body[:MAX_ROBOTS].decode("utf-8-sig", "replace")  # behind a byte order mark the first line would be lost
        return Robots("rules", Protego.parse(text), len(text))
    return Robots("none") if 400 <= status < 500 and status != 429 else Robots("unreachable")


class KnownRobots:
    """The answers of the hosts asked last, for a day each (RFC 9309, 2.4): hosts are countless, and rules can be long."""

    def __init__(self, room: int = ROOM) -> None:
        self.room, self.size = room, 0
        self.answers = OrderedDict[str, tuple[Robots, float]]()

    def get(self, origin: str) -> Robots | None:
        robots, until = self.answers.get(origin, (None, 0.0))
        if robots is None or until < time.time():
            return None
        self.answers.move_to_end(origin)
        return robots

    def put(self, origin: str, robots: Robots) -> None:
        self._forget(origin)
        self.answers[origin] = robots, time.time() + FRESH
        self.size += robots.size + LEAST
        while self.size > self.room and len(self.answers) > 1:
            self._forget(next(iter(self.answers)))

    def _forget(self, origin: str) -> None:
        if origin in self.answers:
            self.size -= self.answers.pop(origin)[0].size + LEAST


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
        name, colon, rest = part.strip().partition(":")
        if colon and name.strip() in _VALUED:
            continue
        if colon:
            binds, part = name.strip() in (AGENT, "*"), rest
        if binds:
            words += ["noindex" if word == "none" else word for word in part.replace(";", " ").split()]
    return words
