"""Block and allow lists: hosts with everything below them, URL prefixes, patterns.

Files are plain (one entry a line: a host, a host/path prefix, /a regular expression/, or a line of a hosts file) or a
UT1-style folder of such files (`domains`, `urls`, `expressions`). Lists of millions of hosts are kept as 64-bit hashes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from curation.paths import filesystem
from curation.web.urls import Refused, host_of, normalise, parents

_NAMES = ("domains", "urls", "expressions")
_SINKS = ("0.0.0.0", "127.0.0.1", "::", "::1")


@dataclass(frozen=True)
class HostList:
    """hashes: sorted 64-bit hashes of hosts and of host/path prefixes. pattern: one regular expression, or None."""

    hashes: NDArray[np.uint64]
    pattern: re.Pattern[str] | None
    prefixes: bool

    def __bool__(self) -> bool:
        return len(self.hashes) > 0 or self.pattern is not None

    def matches(self, url: str) -> bool:
        """Whether a normalised URL lies on a listed host or below it, begins with a listed prefix, or fits a pattern."""
        host = host_of(url)
        if any(self._holds(name) for name in parents(host)):
            return True
        if self.prefixes and any(self._holds(prefix) for prefix in _prefixes(host, url)):
            return True
        return self.pattern is not None and self.pattern.search(url) is not None

    def _holds(self, entry: str) -> bool:
        value = _hash(entry)
        at = int(np.searchsorted(self.hashes, value))
        return at < len(self.hashes) and self.hashes[at] == value


def load(paths: Sequence[str]) -> HostList:
    """The entries of all files and folders together. Raises ValueError for a path or pattern that cannot be used."""
    entries, patterns = set[int](), list[str]()
    prefixes = False
    for line, is_pattern in _lines(paths):
        if is_pattern:
            patterns.append(_checked(line))
            continue
        for entry in _entries(line):
            prefixes = prefixes or "/" in entry
            entries.add(int(_hash(entry)))
    pattern = re.compile("|".join(f"(?:{p})" for p in patterns)) if patterns else None
    return HostList(np.array(sorted(entries), np.uint64), pattern, prefixes)


def judge(url: str, block: HostList, allow: HostList) -> None:
    """Raises Refused for a blocked URL, or for one that is not on the allow list where there is one."""
    if allow and not allow.matches(url):
        raise Refused("not_allowed_host", host_of(url))
    if block and block.matches(url):
        raise Refused("blocked_host", host_of(url))


def _lines(paths: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Every line that says something, and whether it is a pattern: as /.../, or as any line of a file `expressions`."""
    for path in paths:
        try:
            for name, file in _files(path):
                with file as lines:
                    for line in lines:
                        text = line.decode("utf-8", "replace").strip()
                        if len(text) > 2 and text.startswith("/") and text.endswith("/"):
                            yield text[1:-1], True
                        elif name == "expressions" and text and not text.startswith("#"):
                            yield text, True
                        elif text := text.partition("#")[0].strip():
                            yield text, False
        except OSError as error:
            raise ValueError(f"cannot read the host list {path}: {error.strerror or error}") from error


def _files(path: str) -> Iterable[tuple[str, Any]]:
    """Names and contents; a file that is named by itself is a plain list whatever its name."""
    fs, inner = filesystem(path)
    if not fs.isdir(inner):
        return [("", fs.open(inner, "rb"))]
    found = [(name, f"{inner.rstrip('/')}/{name}") for name in _NAMES]
    return [(name, fs.open(one, "rb")) for name, one in found if fs.exists(one)]


def _entries(line: str) -> list[str]:
    """What a line names: one host or prefix, or behind a sink's address as many hosts as there are."""
    words = line.split()
    return [_entry(word) for word in (words[1:] if len(words) > 1 and words[0] in _SINKS else words[:1])]


def _entry(word: str) -> str:
    """A host or prefix, lower case, without scheme, port, `||`, `*.` and final slash or `^`."""
    text = word.partition("://")[2] or word
    text = text.removeprefix("||").removesuffix("^").removeprefix("*.")
    host, slash, path = text.lstrip(".").partition("/")
    host = re.sub(r":[0-9]*$", "", host) if host.count(":") == 1 else host
    host = host.lower().rstrip(".") if host.isascii() else _punycode(host)
    return f"{host}/{unquote(path)}".rstrip("/") if slash else host


def _punycode(host: str) -> str:
    """An international host as URLs have it; one that is no host stays as it is, and fits none."""
    try:
        return host_of(normalise(f"http://{host}/"))
    except Refused:
        return host


def _prefixes(host: str, url: str) -> Iterator[str]:
    """host/a, host/a/b, ... of a URL, its query included last; %61 is an a."""
    rest = unquote(url.partition("://")[2].partition("/")[2])
    steps = rest.partition("?")[0].strip("/").split("/")
    for parent in (host, host.removeprefix("www.")):
        yield from (f"{parent}/{'/'.join(steps[: n + 1])}" for n in range(len(steps)))
        yield f"{parent}/{rest}"


def _checked(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"host list pattern /{pattern}/: {error}") from error
    return pattern


def _hash(entry: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(entry.encode(), digest_size=8).digest(), "little"))
