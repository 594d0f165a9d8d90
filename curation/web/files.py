"""Files on any fsspec path, read as a stream, decompressed on the way; what is before a broken place is still read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from curation.paths import filesystem

PACKED = {".gz": "gzip", ".zst": "zstd"}
CHUNK = 1 << 18  # bytes read at once
MAX_LINE_BYTES = 1 << 20  # of a longer line only one byte more than this is kept
BROKEN: Any = (OSError, ValueError, EOFError, pa.ArrowException)  # what a damaged file raises


def suffixes(uri: str) -> tuple[str, str]:
    """(suffix of the content, compression's suffix or ""): "a.csv.gz" gives (".csv", ".gz")."""
    name = PurePosixPath(uri.lower())
    packed = name.suffix if name.suffix in PACKED else ""
    return PurePosixPath(name.stem).suffix if packed else name.suffix, packed


def chunks(uri: str, start: int = 0, stop: int = 0) -> Iterator[bytes]:
    """The decompressed bytes of a file; of one that is not compressed, those in [start, stop). stop 0: to its end.

    Raises OSError where the file is damaged, after all that is before that place.
    """
    fs, path = filesystem(uri)
    packed = suffixes(uri)[1]
    with fs.open(path, "rb") as file:
        file.seek(0 if packed else start)
        left = stop - start if stop and not packed else None
        stream = pa.CompressedInputStream(pa.PythonFile(file, "r"), PACKED[packed]) if packed else file
        while left != 0 and (chunk := stream.read(CHUNK if left is None else min(CHUNK, left))):
            left = None if left is None else left - len(chunk)
            yield chunk


def lines(pieces: Iterator[bytes], at: int = 0) -> Iterator[tuple[int, bytes]]:
    """(first byte, line without its newline) of a stream that begins at byte `at`; a long line is cut, never held whole."""
    rest, cut = b"", 0
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield at, line
            at += len(line) + 1 + cut
            cut = 0
        if len(rest) > MAX_LINE_BYTES:
            cut += len(rest) - MAX_LINE_BYTES - 1
            rest = rest[: MAX_LINE_BYTES + 1]
    if rest:
        yield at, rest


def head(uri: str) -> bytes:
    """The first bytes of a file, decompressed, to its last whole line; what can be had of a damaged one."""
    data = b""
    try:
        for chunk in chunks(uri, 0, CHUNK):
            data += chunk
            if len(data) >= CHUNK:
                return data[: data.rfind(b"\n") + 1] or data
    except BROKEN:
        pass
    return data
