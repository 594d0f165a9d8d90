"""WebDataset tars: headers walked without reading the images, split between samples, never extracted.

A sample is the members that share a key: the path up to the first dot of its last component. Walking 512-byte headers
by hand is several times faster than `tarfile`, and goes on to the last whole member of a truncated file. Tars that were
joined by `cat` are read to the last one. A tar without its end mark was cut between two members: that is told of, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from curation.paths import filesystem, printable
from curation.sources.found import MAX_BYTES, MAX_SIDECAR_BYTES, Found, describe, is_image, read_sidecar, unit

BLOCK = 512
_ZEROS = bytes(BLOCK)
_FILES, _FOLDER, _LONG_NAME, _PAX = (b"\0", b"0", b"7"), b"5", b"L", b"x"
_NAMING = (_LONG_NAME, _PAX)
_BESIDE = (*_NAMING, b"g", b"K")  # blocks about the next member or all of them
_PAX_LENGTH = re.compile(rb"(\d{1,9}) ")
_EMPTY = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders: without bytes, whatever their size says
MAX_NAME_BYTES = 1 << 20  # of a long-name or pax block
MAX_GAP_BYTES = 1 << 20  # zeros after an end mark that are looked through for a further tar


@dataclass(frozen=True)
class Member:
    """start: of its header (or of the long-name block before it); offset, size: of its bytes."""

    name: str
    start: int
    offset: int
    size: int
    trouble: str | None = None

    @property
    def key(self) -> str:
        folder, slash, base = self.name.rpartition("/")
        return folder + slash + (base.split(".")[0] or base)

    @property
    def suffix(self) -> str:
        return self.name.rpartition("/")[2].partition(".")[2].lower()


def walk(file: Any, start: int, stop: int, size: int) -> Iterator[Member]:
    """Members whose header begins in [start, stop) of a tar of `size` bytes; the last may only tell of a cut."""
    at, begun, zeros, long_name, long_size = start, start, 0, "", None
    while at < min(stop, size) and zeros <= MAX_GAP_BYTES:
        file.seek(at)
        header = file.read(BLOCK)
        if header == _ZEROS:
            at, zeros = at + BLOCK, zeros + BLOCK
            begun = at
            continue
        kind = header[156:157]
        length = _length(header)
        if length is not None and long_size is not None and kind not in (*_BESIDE, *_EMPTY):
            length = long_size
        if length is None and zeros:
            return
        if length is None or at + BLOCK + length > size or (kind in _NAMING and length > MAX_NAME_BYTES):
            name = long_name or (_name(header) if length is not None else "")
            yield Member(name, begun, at + BLOCK, 0, "truncated_archive")
            return
        zeros = 0
        if kind == _LONG_NAME:
            long_name = file.read(length).rstrip(b"\0").decode("utf-8", "replace")
        elif kind == _PAX:
            long_name, long_size = _pax(file.read(length), long_name)
        elif kind not in _BESIDE:
            name = long_name or _name(header)
            if kind != _FOLDER:
                yield Member(name, begun, at + BLOCK, length, _trouble(name, kind, length))
            long_name, long_size = "", None
        at += BLOCK + -(-length // BLOCK) * BLOCK
        begun = begun if long_name or long_size is not None else at
    if size and at >= size and stop >= size and not zeros:
        yield Member("", size, size, 0, "truncated_archive")


def _length(header: bytes) -> int | None:
    """Bytes of the member, or None if this is no tar header (its checksum is the sum of its bytes, with the sum blank)."""
    if len(header) < BLOCK:
        return None
    try:
        told = int(header[148:156].strip(b" \0") or b"-1", 8)
        if told != sum(header) - sum(header[148:156]) + 256:
            return None
        if header[156:157] in _EMPTY:
            return 0
        if header[124] & 0x80:
            return int.from_bytes(header[125:136], "big")
        length = int(header[124:136].strip(b" \0") or b"0", 8)
        return length if length >= 0 else None
    except ValueError:
        return None


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0")[0].decode("utf-8", "replace")
    prefix = header[345:500].split(b"\0")[0].decode("utf-8", "replace") if header[257:262] == b"ustar" else ""
    return f"{prefix}/{name}" if prefix and header[257:265] == b"ustar\x0000" else name


def _pax(data: bytes, name: str) -> tuple[str, int | None]:
    """Name and size of a pax header: lines of "LENGTH key=value"."""
    size, at = None, 0
    while found := _PAX_LENGTH.match(data, at):
        end = at + int(found[1])
        key, _, value = data[found.end() : end - 1].partition(b"=")
        if key == b"path":
            name = value.decode("utf-8", "replace")
        if key == b"size" and value.isdigit() and len(value) < 20:
            size = int(value)
        at = max(end, found.end())
    return name, size


def _trouble(name: str, kind: bytes, length: int) -> str | None:
    if kind not in _FILES:
        return "not_a_file"
    if length > MAX_BYTES:
        return "too_many_bytes"
    path = PurePosixPath(name.replace("\\", "/"))
    return "unsafe_name" if path.is_absolute() or ".." in path.parts or "\0" in name else None


def plan(set_name: str, uri: str, key: str, size: int, modified: str, part_rows: int) -> list[dict[str, Any]]:
    """Units of about `part_rows` images, cut between samples; one unit if samples are scattered."""
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file:
        cuts, images, scattered = _cuts(walk(file, 0, size, size), part_rows)
    if scattered:
        cuts, images = cuts[:1], [sum(images)]
    edges = [*cuts, size]
    return [
        unit(set_name, "tar", uri, key, start=a, stop=b, images=n, bytes=size, modified=modified)
        for a, b, n in zip(edges, edges[1:], images, strict=False)
    ]


def _cuts(members: Iterator[Member], part_rows: int) -> tuple[list[int], list[int], bool]:
    """Where units begin, how many images each holds, and whether some sample's members are not adjacent."""
    cuts, images, seen, last, scattered = [0], [0], set[str](), None, False
    for member in members:
        if member.key != last:
            scattered |= member.key in seen
            seen.add(member.key)
            if images[-1] >= part_rows and member.trouble != "truncated_archive":
                cuts.append(member.start)
                images.append(0)
        last = member.key
        images[-1] += is_image(member.name) or bool(member.trouble)
    return cuts, images, scattered


def read(row: dict[str, Any]) -> Iterator[Found]:
    """The samples of one unit in the order of the tar; images one at a time."""
    fs, path = filesystem(row["uri"])
    with fs.open(path, "rb") as file:
        members = list(walk(file, row["start"], row["stop"], row["bytes"]))
        beside, images = _group(members)
        for member in images:
            yield _found(file, member, beside.get(member.key, []) if is_image(member.name) else [], row)
    if not members and not row["start"] and not row["images"]:
        yield Found(set=row["set"], key=row["key"], uri=row["uri"], reason="empty_archive", detail="no members")


def _group(members: list[Member]) -> tuple[dict[str, list[Member]], list[Member]]:
    """Sidecars by key, and what is an image or has none to go with."""
    with_image = {m.key for m in members if is_image(m.name) and not m.trouble}
    beside: dict[str, list[Member]] = {}
    images: list[Member] = []
    for member in members:
        if is_image(member.name) or member.trouble or member.key not in with_image:
            images.append(member)
        else:
            beside.setdefault(member.key, []).append(member)
    return beside, images


def _found(file: Any, member: Member, sidecars: list[Member], row: dict[str, Any]) -> Found:
    base: dict[str, Any] = {
        "set": row["set"],
        "key": member.key,
        "uri": row["uri"],
        "member": member.name,
        "offset": member.offset,
        "length": member.size,
    }
    if member.trouble:
        what = printable(member.name) or ("no end mark" if member.start == row["bytes"] else "header")
        return Found(**base, reason=member.trouble, detail=f"{what} at byte {member.start}")
    extra = {side.suffix: read_sidecar(side.suffix, _bytes(file, side, MAX_SIDECAR_BYTES + 1)) for side in sidecars}
    return Found(**base, data=_bytes(file, member), **describe(extra))


def _bytes(file: Any, member: Member, most: int = MAX_BYTES) -> bytes:
    file.seek(member.offset)
    return file.read(min(member.size, most))
