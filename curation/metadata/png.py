"""PNG and APNG without metadata: chunks that make the picture stay. Source: PNG specification, third edition."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from curation.decode import Reject, opened
from curation.metadata.parts import Parts, exif, joined, orientation, refuse

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ANY = 1 << 31
_KEPT = {
    b"IHDR": 13, b"PLTE": 768, b"IDAT": _ANY, b"IEND": 0, b"tRNS": 256, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"iCCP": _ANY,
    b"sBIT": 4, b"bKGD": 6, b"pHYs": 9, b"hIST": 512, b"sPLT": _ANY, b"cICP": 4, b"mDCV": 24, b"mDCv": 24, b"cLLI": 8,
    b"cLLi": 8, b"acTL": 8, b"fcTL": 26, b"fdAT": _ANY,
}  # fmt: skip
"""Chunks that make the picture, and their most bytes."""
_ORIENTED = re.compile(rb"eXIf|[tzi](?:TXt|EXt)(?:XML:com\.adobe\.xmp|Raw profile type exif)\0")
"""How chunks begin that Pillow reads the orientation from."""


def strip_png(data: bytes) -> bytes:
    """Up to IEND. Text, times, private and unknown chunks go. Raises Reject, also for any wrong checksum."""
    parts: Parts = [SIGNATURE]
    told: list[bytes] = []
    for kind, chunk in _chunks(data):
        if kind in _KEPT:
            parts.append(chunk if len(chunk) <= _KEPT[kind] + 12 else refuse(f"{kind!r} is too long"))
        elif _ORIENTED.match(chunk, 4):
            parts.append(None)
            told.append(chunk)
        elif not kind[0] & 0x20:
            refuse(f"unknown critical chunk {kind!r}")
    turned = exif(orientation(_info(told))) if told else b""
    return joined(parts, _chunk(b"eXIf", turned) if turned else b"")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, whole chunk), from IHDR to IEND."""
    if data[:8] != SIGNATURE or data[12:16] != b"IHDR":
        refuse("not a PNG")
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        chunk = data[at : at + length + 12]
        if len(chunk) < length + 12 or not kind.isalpha():
            refuse(f"no whole chunk at byte {at}")
        if zlib.crc32(memoryview(chunk)[4:-4]) != int.from_bytes(chunk[-4:]):
            refuse(f"wrong checksum of {kind!r}")
        yield kind, chunk
        at += len(chunk)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _info(chunks: list[bytes]) -> dict[Any, Any]:
    """What Pillow reads from these chunks: they are put into a PNG of one pixel."""
    header, pixel = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0), zlib.compress(b"\0\0")
    small = [SIGNATURE, _chunk(b"IHDR", header), *chunks, _chunk(b"IDAT", pixel), _chunk(b"IEND", b"")]
    try:
        with opened(b"".join(small), None) as image:
            return dict(image.info)
    except Reject as reject:
        raise Reject("unstrippable", reject.detail) from reject
