"""Links made absolute: by string work in the usual cases, by urljoin in the rest."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urljoin

MAX_URL = 4096  # characters; longer ones are data or traps
_SPACE = "".join(map(chr, range(33)))  # what WHATWG strips at both ends: C0 controls and space
_INSIDE = str.maketrans("", "", "\t\n\r")
_UNTIDY = " \n\t\r\f\\"
_WEB = ("https://", "http://")
_MARKS = ("", "/", "?", "#")


def resolve(raw: Sequence[str], base: str) -> list[str | None]:
    """Absolute URLs of the links of a page.

    None where there is none: data: URIs, empty, unreadable or longer than MAX_URL, or relative to no http(s) URL. Spelling
    is kept where that is enough: dots in paths, case and percent signs are left to who normalises the URL.
    Source: https://url.spec.whatwg.org; differs: `https:x` is not taken as relative.
    """
    joined = "".join(raw)
    given = map(_tidied, raw) if any(mark in joined for mark in _UNTIDY) else raw
    origin, folder = places(base)
    scheme = origin.partition("/")[0]
    found = [
        url
        if url.startswith(_WEB)
        else origin + url
        if origin and url[:1] == "/" and url[1:2] != "/"
        else folder + url
        if folder and ":" not in url and url[:1] not in _MARKS
        else scheme + url
        if folder and url[:2] == "//"
        else _odd(url, base)
        for url in given
    ]
    if len(joined) > MAX_URL and max(map(len, raw)) > MAX_URL // 2:
        return [url if url and len(url) <= MAX_URL else None for url in found]
    return found


def places(base: str) -> tuple[str, str]:
    """("https://a.b", "https://a.b/c/") of https://a.b/c/d?e#f; empty texts where it is no http(s) URL."""
    scheme, _, rest = base.partition("://")
    if scheme.lower() not in ("http", "https"):
        return "", ""
    host, slash, path = rest.partition("#")[0].partition("?")[0].partition("/")
    origin = f"{scheme}://{host}"
    folder = path.rpartition("/")[0] if slash else ""
    return origin, f"{origin}/{folder}/" if folder else origin + "/"


def _tidied(url: str) -> str:
    url = url.strip(_SPACE).translate(_INSIDE)
    if "\\" not in url or url[:5].lower() == "data:":
        return url
    end = min((at for at in (url.find("?"), url.find("#")) if at >= 0), default=len(url))
    return url[:end].replace("\\", "/") + url[end:]


def _odd(url: str, base: str) -> str | None:
    if not url or url[0] == "#" or url[:5].lower() == "data:":
        return None
    try:
        whole = urljoin(base, url)
    except ValueError:
        return None
    return whole if ":" in whole else None
