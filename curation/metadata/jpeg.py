"""JPEG without metadata: tables, frame and scans stay, and JFIF, Adobe and ICC. Sources: ITU-T T.81 annex B, T.871, T.872."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

from curation.metadata.parts import Parts, coded, exif, joined, orientation, refuse

SOI, EOI, SOS, DQT, DHT, DRI, DNL, COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xDC, 0xFE
APP0, APP1, APP2, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
CODED = 0x00  # no marker: the coded data of a scan
FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA)  # sequential, extended, progressive, lossless; arithmetic ones

_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL)
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_LENGTHS: dict[int, Callable[[bytes], int]] = {
    **dict.fromkeys(FRAMES, lambda body: 6 + 3 * sum(body[5:6])),
    SOS: lambda body: 4 + 2 * body[0],
    DQT: lambda body: 129 if body[0] >> 4 else 65,
    DHT: lambda body: 17 + sum(body[1:17]),
    DRI: lambda _: 2,
    DNL: lambda _: 2,
}
"""The length that a body (of DQT and DHT: its first table) must have."""


def strip_jpeg(data: bytes) -> bytes:
    """Up to the first EOI. Between scans too, metadata goes. Raises Reject."""
    parts: Parts = []
    told: dict[str, bytes] = {}
    seen: set[int] = set()
    for marker, segment, body in _segments(data):
        _check_order(marker, segment, seen)
        turns = marker == APP1 and SOS not in seen and _tell(body, told)
        parts.append(None if turns else _kept(marker, segment, body))
        seen.add(marker)
    if SOS not in seen:
        refuse("a JPEG without a scan")
    turned = exif(orientation(told)) if told else b""
    return joined(parts, b"\xff\xe1" + struct.pack(">H", len(turned) + 8) + b"Exif\0\0" + turned if turned else b"")


def _check_order(marker: int, segment: bytes, seen: set[int]) -> None:
    framed = not seen.isdisjoint(FRAMES)
    if (marker in FRAMES and framed) or (marker == SOS and not framed):
        refuse("not one frame before the scans")
    if marker == CODED and DRI not in seen and _RESTART.search(segment):
        refuse("restart markers without an interval")


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(marker, whole segment with its fill bytes, body), from SOI to EOI; each scan's coded data follows its SOS."""
    if data[:2] != b"\xff\xd8":
        refuse("not a JPEG")
    yield SOI, data[:2], b""
    marker, at = SOI, 2
    while marker != EOI:
        start, found = at, _MARKER.match(data, at)
        if not found:
            refuse(f"no marker at byte {at}")
        marker, at = found[1][0], found.end()
        at = at if marker == EOI else _segment_end(data, at)
        yield marker, data[start:at], data[found.end() + 2 : at]
        if marker == SOS:
            start, at = at, _scan_end(data, at)
            yield CODED, data[start:at], b""


def _segment_end(data: bytes, at: int) -> int:
    length = int.from_bytes(data[at : at + 2])
    return at + length if length >= 2 and at + length <= len(data) else refuse(f"segment at byte {at} ends outside the file")


def _scan_end(data: bytes, at: int) -> int:
    found = _SCAN_END.search(data, at)
    return found.start() if found else refuse("no end of the image")


def _tell(body: bytes, told: dict[str, bytes]) -> bool:
    """Whether an APP1 may hold the orientation; adds it to `told`. EXIF of several segments is one, as Pillow sees it."""
    if body[:6] == b"Exif\0\0":
        told["exif"] = told["exif"] + body[6:] if "exif" in told else body
    elif body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
        told["xmp"] = body.split(b"\0", 1)[1]
    else:
        return False
    return True


def _kept(marker: int, segment: bytes, body: bytes) -> bytes:
    """What is left of a segment: JFIF without its thumbnail, no JFXX, Adobe without what it does not define."""
    if marker in (SOI, EOI):
        return segment
    if marker == CODED:
        return coded(segment)
    if marker in _LENGTHS:
        return segment if _whole(marker, body) else refuse(f"segment {marker:02x} is not of its length")
    if marker == APP0 and body[:5] == b"JFIF\0" and len(body) >= 14:
        return segment if body[12:] == b"\0\0" else b"\xff\xe0\x00\x10" + body[:12] + b"\0\0"
    if marker == APP14 and body[:5] == b"Adobe" and len(body) >= 12:
        return segment if len(body) == 12 else b"\xff\xee\x00\x0e" + body[:12]
    if marker == APP2 and body[:12] == b"ICC_PROFILE\0":
        return segment
    return b"" if APP0 <= marker <= APP15 or marker == COM else refuse(f"unknown marker {marker:02x}")


def _whole(marker: int, body: bytes) -> bool:
    """Whether a body is exactly what its kind holds; quantisation and Huffman tables may be several."""
    length = _LENGTHS[marker](body) if body else 1
    while marker in (DQT, DHT) and length < len(body):
        body = body[length:]
        length = _LENGTHS[marker](body)
    return length == len(body)
