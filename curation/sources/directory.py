"""A directory tree: every regular file is an image until its bytes say otherwise; sidecars stay with their image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from curation.paths import filesystem, full_uri, one_line, stamp
from curation.sources.found import (
    MAX_BYTES,
    MAX_SIDECAR_BYTES,
    SIDECAR_SUFFIXES,
    Found,
    SourceError,
    describe,
    is_image,
    read_sidecar,
    unit,
)


def files(fs: Any, root: str) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str]]]:
    """Every regular file below `root` (path -> info, sorted), and what could not be read: (path, why).

    Links are followed, to a folder only once. Raises SourceError if `root` itself cannot be read.
    """
    found: dict[str, dict[str, Any]] = {}
    failed: list[tuple[str, str]] = []
    waiting, seen = [root], {os.path.realpath(root)}
    while waiting:
        folder = waiting.pop()
        try:
            entries = fs.ls(folder, detail=True)
        except OSError as error:
            failed.append((folder, one_line(error)))
            continue
        for entry in sorted(entries, key=lambda e: e["name"]):
            info = _target(fs, entry)
            if info["type"] == "directory" and _once(info, seen):
                waiting.append(info["name"])
            elif info["type"] == "file":
                found[info["name"]] = info
            elif info["type"] == "lost":
                failed.append((info["name"], "a link that leads nowhere"))
    if failed and failed[0][0] == root:
        raise SourceError(f"cannot read {root}: {failed[0][1]}")
    return dict(sorted(found.items())), sorted(failed)


def _target(fs: Any, entry: dict[str, Any]) -> dict[str, Any]:
    """What a link leads to, under the link's name; any other entry as it is."""
    if not entry.get("islink"):
        return entry
    try:
        return fs.info(entry["name"]) | {"name": entry["name"]}
    except OSError:
        return entry | {"type": "lost"}


def _once(info: dict[str, Any], seen: set[str]) -> bool:
    """Whether a folder is met for the first time; only links can lead to one again."""
    real = os.path.realpath(info["name"]) if "islink" in info else info["name"]
    new = real not in seen
    seen.add(real)
    return new


def plan(set_name: str, fs: Any, root: str, found: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A unit per file that is not the sidecar of an image beside it."""
    beside: dict[str, list[str]] = {}
    images = {_stem(path) for path in found if is_image(path)}
    for path in found:
        if not is_image(path) and PurePosixPath(path).suffix.lower() in SIDECAR_SUFFIXES and _stem(path) in images:
            beside.setdefault(_stem(path), []).append(path)
    attached = {path for paths in beside.values() for path in paths}
    for path, info in found.items():
        if path not in attached:
            mine = [full_uri(fs, p) for p in beside.get(_stem(path), [])] if is_image(path) else []
            yield unit(set_name, "file", full_uri(fs, path), _key(path, root), stop=info["size"], bytes=info["size"],
                       modified=stamp(info), sidecars=mine)  # fmt: skip


def _stem(path: str) -> str:
    suffix = PurePosixPath(path).suffix
    return path[: -len(suffix)] if suffix else path


def _key(path: str, root: str) -> str:
    inside = path[len(root.rstrip("/")) + 1 :] if path.startswith(root.rstrip("/") + "/") else PurePosixPath(path).name
    return _stem(inside)


def read(row: dict[str, Any]) -> Found:
    """The file of one unit, with its sidecars."""
    base: dict[str, Any] = {"set": row["set"], "key": row["key"], "uri": row["uri"]}
    if row["bytes"] > MAX_BYTES:
        return Found(**base, length=row["bytes"], reason="too_many_bytes", detail=f"{row['bytes']} bytes, limit {MAX_BYTES}")
    try:
        data = _head(row["uri"], MAX_BYTES)
    except OSError as error:
        return Found(**base, reason="unreadable_file", detail=one_line(error))
    extra = {PurePosixPath(path).suffix[1:].lower(): path for path in row["sidecars"]}
    return Found(**base, length=len(data), data=data, **describe({s: _sidecar(s, path) for s, path in extra.items()}))


def _sidecar(suffix: str, uri: str) -> Any:
    try:
        return read_sidecar(suffix, _head(uri, MAX_SIDECAR_BYTES + 1))
    except OSError as error:
        return f"<unreadable: {one_line(error)}>"


def _head(uri: str, most: int) -> bytes:
    """The file, or its first `most` bytes."""
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file:
        return file.read(most)
