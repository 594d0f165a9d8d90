"""WebP without metadata, still or animated. Source: RFC 9649."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from curation.metadata.parts import coded, exif, joined, orientation, refuse

_PICTURE = (b"VP8 ", b"VP8L")
_FRAME = (*_PICTURE, b"ALPH")
_HAS_EXIF, _HAS_XMP = 0x08, 0x04  # bits of VP8X
_STARTS = {b"VP8 ": (3, b"\x9d\x01\x2a"), b"VP8L": (0, b"\x2f"), b"ANIM": (6, b""), b"VP8X": (10, b""), b"ANMF": (16, b"")}
"""What stands where in a chunk's body; nothing: the least length."""


def strip_webp(data: bytes) -> bytes:
    """Up to the end that the RIFF header states; VP8X says no more than is there. Raises Reject."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or end > len(data):
        refuse("not a whole WebP")
    chunks = list(_chunks(data[12:end]))
    kinds = [kind for kind, _, _ in chunks]
    if sum(kinds.count(kind) for kind in _PICTURE) != (b"ANMF" not in kinds):
        refuse("not one picture")
    turned = _turned(chunks) if kinds[0] == b"VP8X" else b""
    parts = [_kept(kind, chunk, body, bool(turned)) for kind, chunk, body in chunks]
    inside = b"WEBP" + joined(parts, b"EXIF" + struct.pack("<I", len(turned)) + turned if turned else b"")
    return b"RIFF" + struct.pack("<I", len(inside)) + inside


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(type, whole chunk with its padding, body)."""
    at = 0
    while at < len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        start, at = at, at + 8 + length + length % 2
        body = data[start + 8 : start + 8 + length]
        place, mark = _STARTS.get(kind, (0, b""))
        if len(body) < length or not body.startswith(mark, place):
            refuse(f"no whole chunk at byte {start}")
        yield kind, data[start:at], body


def _turned(chunks: list[tuple[bytes, bytes, bytes]]) -> bytes:
    """EXIF of the orientation that the EXIF or XMP chunk tells."""
    names = {b"EXIF": "exif", b"XMP ": "xmp"}
    return exif(orientation({names[kind]: body for kind, _, body in reversed(chunks) if kind in names}))


def _kept(kind: bytes, chunk: bytes, body: bytes, turned: bool) -> bytes | None:
    """What is left of a chunk; None for EXIF and XMP."""
    if kind in (b"EXIF", b"XMP "):
        return None
    if kind == b"VP8X":
        return b"VP8X\x0a\0\0\0" + bytes([body[0] & ~(_HAS_EXIF | _HAS_XMP) | _HAS_EXIF * turned]) + body[1:10]
    if kind == b"ANMF":
        inner = b"".join(coded(part) for what, part, _ in _chunks(body[16:]) if what in _FRAME)
        return b"ANMF" + struct.pack("<I", 16 + len(inner)) + body[:16] + inner
    if kind in _FRAME:
        return coded(chunk)
    return chunk if kind in (b"ICCP", b"ANIM") else b""
