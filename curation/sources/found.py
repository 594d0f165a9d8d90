"""What every kind of source gives: input units to plan with, and found files to identify."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from PIL import Image

from curation.paths import printable

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
MAX_BYTES = 1 << 30  # a file or member above this is not read: it is told of, with the reason too_many_bytes
MAX_SIDECAR_BYTES = 1 << 20  # a sidecar above this is told of, not kept
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


def unit(set_name: str, kind: str, uri: str, key: str, **more: Any) -> dict[str, Any]:
    """One row of records.SOURCES. A path that is not UTF-8 cannot be stored: it becomes a unit that says so."""
    if printable(uri) != uri or printable(key) != key:
        more = {"error_message": "the name is not valid UTF-8"}
    uri, key = printable(uri), printable(key)
    base = {"start": 0, "stop": 0, "images": 1, "bytes": 0, "modified": "", "sidecars": [], "error_message": None}
    return base | {"set": set_name, "kind": kind, "uri": uri, "key": key} | more


def is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def describe(extra: Mapping[str, Any]) -> dict[str, Any]:
    """url, caption and sidecars of an image from its sidecar files or columns (suffix or column name -> content)."""
    rest = {name: value for name, value in extra.items() if value is not None}
    inner = rest.get("json")
    facts = rest | (inner if isinstance(inner, dict) else {})
    url = next((str(facts[name]) for name in URL_NAMES if facts.get(name)), None)
    caption = rest.pop("txt", None) or next((str(facts[name]) for name in CAPTION_NAMES if facts.get(name)), None)
    return {
        "url": printable(url) if url else None,
        "caption": printable(str(caption)) if caption else None,
        "sidecars": _json(rest) if rest else None,
    }


def _json(values: Mapping[str, Any]) -> str:
    """One JSON object; a number that JSON has no word for is null, a lone surrogate a question mark."""
    try:
        text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
        if "NaN" in text or "Infinity" in text:
            plain = json.loads(text, parse_constant=lambda _: None)
            text = json.dumps(plain, sort_keys=True, ensure_ascii=False)
    except RecursionError:
        text = json.dumps(dict.fromkeys(sorted(values), "<nested too deep>"))
    return text.encode("utf-8", "replace").decode()


def read_sidecar(suffix: str, data: bytes) -> Any:
    """The content of a sidecar: parsed JSON, else text; bytes that are too many or not text are counted only."""
    if len(data) > MAX_SIDECAR_BYTES:
        return f"<more than {MAX_SIDECAR_BYTES} bytes>"
    try:
        text = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        return f"<{len(data)} bytes>"
    if suffix == "json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text
