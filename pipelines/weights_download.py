"""One large file over HTTP, by ranges: a connection that breaks is taken up where it broke, in this process or the next."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from pipelines.config import RecipeError

TRIES = 5  # connections that bring nothing, one after the other
WAIT = 1.0  # seconds before another one, doubled each time
TIMEOUT, BLOCK = 60, 2**20  # seconds without a byte; bytes


def download(url: str, partial: Path) -> None:
    """Bring `partial` to the whole length of what is at `url`, whatever of it is there already.

    A file that changed on the server meanwhile is begun again (If-Range). Raises RecipeError.
    """
    failures = 0
    while True:
        before = _size(partial)
        try:
            if _go_on(url, partial):
                return
            why = "the connection broke off"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise RecipeError(f"{_plain(url)}: the server says {error.code} {error.reason}") from error
            why = f"the server says {error.code}"
        except (OSError, HTTPException) as error:
            why = str(getattr(error, "reason", "") or error) or type(error).__name__
        failures = 0 if _size(partial) > before else failures + 1
        if failures >= TRIES:
            raise RecipeError(f"{_plain(url)}: {why}, {TRIES} times; the same command goes on from {_size(partial):,} bytes")
        time.sleep(WAIT * 2**failures if failures else 0)


def _go_on(url: str, partial: Path) -> bool:
    """Append what one connection brings; whether that is all there is."""
    have, tag = _size(partial), _tag_file(partial)
    known = tag.read_text() if tag.exists() else ""
    request = urllib.request.Request(url, headers={"User-Agent": "curate", "Accept-Encoding": "identity"})
    if have and known:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", known)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":  # all of it is here
            return _done(partial)
        if error.code == 416:
            partial.unlink(missing_ok=True)
            return False
        raise
    with response:
        start, total = _extent(response)
        tag.write_text(response.headers.get("ETag") or response.headers.get("Last-Modified") or "")
        with partial.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            try:
                while block := response.read(BLOCK):
                    file.write(block)
            finally:
                file.flush()
                os.fsync(file.fileno())
    return _done(partial) if total in (None, _size(partial)) else False


def _extent(response: Any) -> tuple[int, int | None]:
    """Where the answer starts, and how long the whole file is if that is said."""
    if response.status == 206:
        span, _, total = response.headers["Content-Range"].removeprefix("bytes ").partition("/")
        return int(span.partition("-")[0]), None if total == "*" else int(total)
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _done(partial: Path) -> bool:
    _tag_file(partial).unlink(missing_ok=True)
    return True


def _tag_file(partial: Path) -> Path:
    return partial.with_name(partial.name + ".tag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _plain(url: str) -> str:
    """An address without what may be a key in it."""
    return url.split("?")[0]
