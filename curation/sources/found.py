"""What every kind of source gives: input units to plan with, and found files to identify."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import fsspec
from PIL import Image

Image.init()
IMAGE_SUFFIXES = frozenset(Image.registered_extensions()) - {
    ".eps",
    ".ps",
    ".pdf",
    ".wmf",
    ".emf",
    ".mpg",
    ".mpeg",
    ".fit",
    ".fits",
}
SIDECAR_SUFFIXES = frozenset(
    {".txt", ".json", ".cls", ".cls2", ".caption", ".xml", ".yaml", ".yml", ".csv", ".tsv", ".md5", ".id"}
)
URL_NAMES = ("url", "URL", "image_url", "original_url")
CAPTION_NAMES = ("caption", "TEXT", "text", "alt")


class SourceError(ValueError):
    """A source that cannot be used at all; one line that names the path."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One file or member of a source. data: its encoded bytes; None if they cannot be had, and then `reason` says why."""

    set: str
    key: str
    uri: str
    member: str | None = None
    offset: int | None = 0
    length: int | None = None
    url: str | None = None
    caption: str | None = None
    sidecars: str | None = None
    data: bytes | None = None
    reason: str | None = None
    detail: str | None = None


def filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec filesystem of a URI, and the path in it."""
    return fsspec.core.url_to_fs(uri)


def full_uri(fs: Any, path: str) -> str:
    """A path as a URI that can be opened anywhere: plain for local files, with its protocol otherwise."""
    return path if "file" in fs.protocol else fs.unstrip_protocol(path)


def unit(set_name: str, kind: str, uri: str, key: str, **more: Any) -> dict[str, Any]:
    """One row of records.SOURCES."""
    base = {"start": 0, "stop": 0, "images": 1, "bytes": 0, "modified": "", "sidecars": [], "error_message": None}
    return base | {"set": set_name, "kind": kind, "uri": uri, "key": key} | more


def stamp(info: Mapping[str, Any]) -> str:
    """What tells that a file has changed: its modification time, or the object store's tag."""
    return str(
        next((info[name] for name in ("ETag", "etag", "mtime", "LastModified", "updated", "created") if info.get(name)), "")
    )


def is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def describe(extra: Mapping[str, Any]) -> dict[str, Any]:
    """url, caption and sidecars of an image from its sidecar files or columns (suffix or column name -> content)."""
    rest = {name: value for name, value in extra.items() if value is not None}
    inner = rest.get("json")
    facts = rest | (inner if isinstance(inner, dict) else {})
    url = next((str(facts[name]) for name in URL_NAMES if facts.get(name)), None)
    caption = rest.pop("txt", None) or next((str(facts[name]) for name in CAPTION_NAMES if facts.get(name)), None)
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False, default=str) if rest else None
    return {"url": url, "caption": caption, "sidecars": text}


def read_sidecar(suffix: str, data: bytes) -> Any:
    """The content of a sidecar: parsed JSON, else text; bytes that are not text are counted only."""
    try:
        text = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        return f"<{len(data)} bytes>"
    if suffix == "json":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text
