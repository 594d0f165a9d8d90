"""GIF without comments, plain text and application data other than the loop count. Source: GIF89a specification."""

from __future__ import annotations

import re

from curation.metadata.parts import coded, orientation, refuse

_CONTROL = re.compile(rb"!\xf9\x04....\0", re.DOTALL)
_LOOP = re.compile(rb"!\xff\x0b(NETSCAPE2\.0|ANIMEXTS1\.0)\x03\x01..\0", re.DOTALL)
_XMP = b"!\xff\x0bXMP DataXMP"
_LONGEST_CODE = 11  # the most that "LZW minimum code size" can be: codes have up to 12 bits


def strip_gif(data: bytes) -> bytes:
    """Up to the trailer. A GIF has no EXIF: one that its XMP turns is refused. Raises Reject."""
    if data[:6] not in (b"GIF87a", b"GIF89a") or len(data) < 13:
        refuse("not a GIF")
    at = 13 + _colours(data[10])
    parts, images = [data[:at]], 0
    while data[at : at + 1] != b";":
        start, at = at, _block_end(data, at)
        parts.append(_kept(data[start:at]))
        images += data[start] == ord(",")
    return b"".join([*parts, b";"]) if images else refuse("a GIF without images")


def _colours(flags: int) -> int:
    """Bytes of the colour table that these flags announce."""
    return 3 << (flags % 8 + 1) if flags & 0x80 else 0


def _block_end(data: bytes, at: int) -> int:
    """Where the image or extension that begins here ends."""
    if data[at : at + 1] not in (b",", b"!"):
        refuse(f"no block at byte {at}")
    at += _picture_start(data[at : at + 10]) if data[at : at + 1] == b"," else 2
    while length := sum(data[at : at + 1]):
        at += 1 + length
    return at + 1 if at < len(data) else refuse("no end of the image")


def _picture_start(descriptor: bytes) -> int:
    """Where an image's coded picture begins, after its descriptor and colours."""
    return 11 + _colours(descriptor[9]) if len(descriptor) == 10 else refuse("no whole image")


def _kept(block: bytes) -> bytes:
    """What is left of a block."""
    if block[:1] == b",":
        start = _picture_start(block[:10])
        coded(block[start:])
        return block if block[start - 1] <= _LONGEST_CODE else refuse("not a code size of GIF")
    if block[:2] == b"!\xf9" and not _CONTROL.fullmatch(block):
        refuse("a control block is not of its length")
    if block.startswith(_XMP) and orientation({"xmp": block}) > 1:
        refuse("a GIF turned by its XMP")
    return block if _CONTROL.fullmatch(block) or _LOOP.fullmatch(block) else b""
