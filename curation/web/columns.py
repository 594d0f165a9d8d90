"""Which column of a list holds its URLs and which its captions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

URL_NAMES = ("url", "image_url", "img_url", "image_uri", "original_url", "image", "img", "src", "link", "uri", "contenturl")
CAPTION_NAMES = ("caption", "text", "alt", "alt_text", "title", "description")
LOOKED_AT = 100  # rows of a list that its columns are chosen by
_URL = re.compile(r"\s*(?:https?:)?//[^\s/]", re.IGNORECASE)


class ListError(ValueError):
    """A list that cannot be used as it was asked for; one line that names the file."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things are in a list. names: every column; first: the number of lines before the first row (a header)."""

    names: tuple[str, ...]
    url: str
    caption: str | None
    first: int = 0
    delimiter: str = ","


def is_url(value: Any) -> bool:
    """Whether a value looks like an absolute http(s) URL; a scheme-relative one counts, too."""
    return isinstance(value, str) and _URL.match(value) is not None


def choose(
    uri: str, samples: Mapping[str, Sequence[Any]], url: str | None, caption: str | None
) -> tuple[str | None, str | None]:
    """(URL column or None, caption column or None) by the names given, else by usual names, else by what values look like.

    samples: column name -> some of its values. Raises ListError if a named column is not there.
    """
    for named in (url, caption):
        if named is not None and named not in samples:
            raise ListError(f"{uri}: no column {named!r}{_suggest(named, list(samples))}")
    if url is None:
        usual = _named(samples, URL_NAMES)
        url = next((name for name in [*usual, *samples] if _of_urls(samples[name])), next(iter(usual), None))
    if caption is None:
        caption = next((name for name in _named(samples, CAPTION_NAMES) if name != url), None)
    return url, caption


def required(uri: str, url: str | None, names: Sequence[str]) -> str:
    """The URL column. Raises ListError if there is none."""
    if url is None:
        raise ListError(f"{uri}: no column of URLs among: {', '.join(names) or 'none'}")
    return url


def _named(samples: Mapping[str, Sequence[Any]], usual: Sequence[str]) -> list[str]:
    lower = {name.lower(): name for name in reversed(list(samples))}
    return [lower[name] for name in usual if name in lower]


def _of_urls(values: Sequence[Any]) -> bool:
    there = [value for value in values if value not in (None, "")]
    return bool(there) and sum(map(is_url, there)) * 2 >= len(there)


def _suggest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], 1, 0.5)
    meant = next((n for n in names if near and n.lower() == near[0]), None)
    return f"; did you mean {meant!r}?" if meant else f"; there are: {', '.join(names) or 'none'}"
