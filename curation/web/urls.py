"""URLs as a crawler may use them: http(s) only, written one way, without what only tracks or hides."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin

LONGEST = 4096  # characters; longer ones are data or traps
TRACKING = ("utm_", "fbclid=", "gclid=", "msclkid=", "yclid=", "mc_eid=", "igshid=")


class Refused(Exception):
    """A URL, host or address that is never asked: a stable `reason`, and a `detail` in words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def normalise(url: str, base: str | None = None) -> str:
    """The URL as browsers write it (WHATWG, by ada), joined to `base`; no fragment, no tracking parameters.

    Odd spellings of an address (decimal, octal, hexadecimal, full-width) come out as plain numbers, international hosts
    as punycode. Raises Refused: bad_url, blocked_scheme, credentials_in_url.
    """
    import can_ada

    text = url.strip(" \t\r\n")
    if not text or len(text) > LONGEST or any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise Refused("bad_url", "empty, too long, or with control characters")
    try:
        parsed = can_ada.parse(urljoin(base, text) if base else text)
    except (ValueError, TypeError) as error:  # TypeError: half a surrogate pair
        raise Refused("bad_url", str(error).splitlines()[0]) from error
    if parsed.protocol not in ("http:", "https:"):
        raise Refused("blocked_scheme", str(parsed.protocol)[:40])
    if parsed.username or parsed.password or "@" in parsed.host:
        raise Refused("credentials_in_url", str(parsed.hostname))
    if not parsed.hostname or not parsed.hostname.strip("."):
        raise Refused("bad_url", "no host")
    if parsed.search:
        parsed.search = _untracked(parsed.search)
    return str(parsed.href).partition("#")[0]


def _untracked(search: str) -> str:
    if not any(mark in search for mark in TRACKING):
        return search
    return "&".join(part for part in search.removeprefix("?").split("&") if not part.startswith(TRACKING))


def host_of(url: str) -> str:
    """The host of a normalised URL without its port and final dot; brackets of an IPv6 address are taken off."""
    where = url.split("/", 3)[2]
    return where[1:].partition("]")[0] if where.startswith("[") else where.partition(":")[0].rstrip(".")


def origin_of(url: str) -> str:
    """scheme://host:port of a normalised URL."""
    return "/".join(url.split("/", 3)[:3])


def parents(host: str) -> Iterator[str]:
    """A host and every domain above it, longest first: a.b.example, b.example, example."""
    labels = host.split(".")
    return (".".join(labels[at:]) for at in range(len(labels)))
