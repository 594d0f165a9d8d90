"""Records of a WARC file (plain, gzip or zstd, a member or frame for each record), and their payloads decoded.

What is damaged costs the record it is in: reading goes on at the next record that can be found.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import Any

from curation.paths import filesystem, one_line
from curation.web.files import BROKEN

ENDS = "the file ends within a record"
MISSING = "WARC archives need FastWARC: install curate[crawl]"
MAX_BREAKS = 1000  # broken places of one file after which it is given up
_MAGIC = (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"WARC/1.")
_WINDOW = 1 << 20  # bytes looked through at once for the next record
_PROBE = 1 << 16  # bytes of a record that must be enough to tell that it is one


class Undecodable(ValueError):
    """A payload that cannot be had from its transfer or content coding."""


def iterate(file: Any) -> Iterator[Any]:
    """FastWARC's records of an open file, from where it stands. Raises ImportError with the remedy."""
    try:
        from fastwarc.warc import ArchiveIterator
    except ImportError as error:
        raise ImportError(MISSING) from error
    return iter(ArchiveIterator(file, parse_http=True))


def records(uri: str) -> Iterator[tuple[int, Any, str]]:
    """(first byte, record, "") of every record; the record is good until the next one is asked for.

    (first byte, None, why) where one is broken: its own first byte if it was given already, else where reading goes on.
    The last is (size of the file, None, ""). Raises OSError if the file cannot be opened.
    """
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file:
        size, start, breaks, given = int(file.seek(0, 2)), 0, 0, False
        while start < size and breaks < MAX_BREAKS:
            at, own, why = start, False, ""
            file.seek(start)
            try:
                for record in iterate(file):
                    at, own = max(record.stream_pos, at), True
                    if not record.content_length and "Content-Length" not in dict(record.headers.to_tuples()):
                        why, own = ENDS, False
                        break
                    yield at, record, ""
                    given = True
                    if _short(record):
                        why = "shorter than its Content-Length"
                        break
                    own = False
                else:
                    why = "" if _whole(file, at, size) else ENDS
            except BROKEN as error:
                why = one_line(error)
            start = _next(file, at + 1, size) if why else size
            if why:
                breaks += 1
                yield at if own else start, None, f"{ENDS}: {why}" if start >= size and given and why != ENDS else why
        yield size, None, ""


def _short(record: Any) -> bool:
    """Whether a record has fewer bytes than it says. What was not read of it is skipped."""
    if record.reader is None:
        return False
    record.reader.consume()
    return record.reader.tell() < record.content_length


def _whole(file: Any, at: int, size: int) -> bool:
    """Whether a file ends with the record at `at`; a cut gzip member reads as an end."""
    file.seek(at)
    if file.read(3) != _MAGIC[0]:
        return True
    file.seek(at)
    unpack, left = zlib.decompressobj(31), b""
    while chunk := left or file.read(_WINDOW):
        unpack.decompress(unpack.unconsumed_tail + chunk, _WINDOW)
        left = b""
        while unpack.unconsumed_tail:
            unpack.decompress(unpack.unconsumed_tail, _WINDOW)
        if unpack.eof:
            rest = (unpack.unused_data or file.read(_WINDOW)).lstrip(b"\0\r\n")
            if not rest:
                return True
            unpack, left = zlib.decompressobj(31), rest
    return False


def _next(file: Any, at: int, size: int) -> int:
    """The first byte of the next record that begins at or after `at`; the size if there is none."""
    file.seek(0)
    head = file.read(8)
    magic = next((m for m in _MAGIC if head.startswith(m)), _MAGIC[1] if head[1:4] == b"\x2a\x4d\x18" else _MAGIC[2])
    while at < size:
        file.seek(at)
        window = file.read(_WINDOW + len(magic))
        found = window.find(magic)
        if found < 0:
            at += _WINDOW
        elif _begins(file, at + found):
            return at + found
        else:
            at += found + 1
    return size


def _begins(file: Any, at: int) -> bool:
    file.seek(at)
    try:
        record = next(iterate(io.BytesIO(file.read(_PROBE))), None)
    except BROKEN:
        return False
    return record is not None and record.stream_pos == 0 and "WARC-Type" in dict(record.headers.to_tuples())


def payload(record: Any, most: int) -> tuple[bytes, bool]:
    """(body without its codings, at most most + 1 bytes; whether the record has all the bytes it tells of).

    Raises Undecodable for a coding that is unknown or not as it says; OSError where the file is damaged.
    """
    data: bytes = record.reader.read(min(record.content_length, most + 1))
    whole = len(data) >= min(record.content_length, most + 1)
    told = (
        {name.lower(): value.lower().strip() for name, value in record.http_headers.to_tuples()} if record.http_headers else {}
    )
    if "chunked" in told.get("transfer-encoding", ""):
        data = _joined(data)
    for coding in reversed(told.get("content-encoding", "").split(",")):
        data = _decoded(data, coding.strip(), most + 1)
    return data, whole


def _joined(data: bytes) -> bytes:
    """Chunks put together. Crawlers often store what is joined already under the old header: that is left as it is."""
    out, at = list[bytes](), 0
    while (end := data.find(b"\r\n", at, at + 64)) >= 0:
        try:
            size = int(data[at:end].partition(b";")[0], 16)
        except ValueError:
            break
        if not size:
            return b"".join(out)
        out.append(data[end + 2 : end + 2 + size])
        at = end + 4 + size
    return b"".join(out) if out else data


def _decoded(data: bytes, coding: str, most: int) -> bytes:
    """Without one content coding. What does not look packed is left as it is, for the same reason."""
    if coding in ("gzip", "x-gzip") and data.startswith(_MAGIC[0]):
        return _inflated(data, 31, most)
    if coding == "deflate" and data:
        return _inflated(data, 15 if data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0 else -15, most)
    if coding in ("br", "zstd") and data[:1] != b"<":
        raise Undecodable(f"content coding {coding}")
    return data


def _inflated(data: bytes, window: int, most: int) -> bytes:
    """At most `most` bytes; those before the broken place, if there is one after the beginning."""
    unpack = zlib.decompressobj(window)
    out, size = list[bytes](), 0
    pieces = (data[at : at + _PROBE] for at in range(0, len(data), _PROBE))
    try:
        for piece in pieces:
            while piece and size < most:
                out.append(unpack.decompress(piece, most - size))
                size += len(out[-1])
                piece = unpack.unconsumed_tail
    except zlib.error as error:
        if not size:
            raise Undecodable(f"not as its content coding says: {error}") from error
    return b"".join(out)
