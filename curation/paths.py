"""Paths on any fsspec file system, and what can be stored of their names and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fsspec


def filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec filesystem of a URI, and the path in it. An absolute path may hold "::", which is no chain then."""
    if uri.startswith("/"):
        fs = fsspec.filesystem("file")
        return fs, fs._strip_protocol(uri)
    return fsspec.core.url_to_fs(uri)


def full_uri(fs: Any, path: str) -> str:
    """A path as a URI that can be opened anywhere: plain for local files, with its protocol otherwise."""
    return path if "file" in fs.protocol else fs.unstrip_protocol(path)


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    text = str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
    return printable(text.splitlines()[0])


def printable(text: str) -> str:
    """Text that can be stored: lone surrogates (bytes of a name, or escapes in JSON) are written out as \\udcXX."""
    return text.encode("utf-8", "backslashreplace").decode()


def stamp(info: Mapping[str, Any]) -> str:
    """What tells that a file has changed: its modification time, or the object store's tag."""
    return str(
        next((info[name] for name in ("ETag", "etag", "mtime", "LastModified", "updated", "created") if info.get(name)), "")
    )
