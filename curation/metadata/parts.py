"""What the formats have in common: a new file as a list of parts, its orientation, and the refusal."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from typing import Any, NoReturn

from PIL import ExifTags, Image

from curation.decode import Reject

Parts = list[bytes | None]
"""Of the new file, in order; None where metadata stood that may have held the orientation."""


def refuse(detail: str) -> NoReturn:
    """No byte of this file is safe to hand on."""
    raise Reject("unstrippable", detail)


def joined(parts: Parts, orientation: bytes) -> bytes:
    """The parts, with `orientation` at the first place for one."""
    place = parts.index(None) if None in parts else -1
    return b"".join(orientation if at == place else part or b"" for at, part in enumerate(parts))


def orientation(told: Mapping[Any, Any]) -> int:
    """1 to 8. told: what Pillow keeps of a file's metadata as `Image.info` (exif, xmp, text); its rules decide."""
    image = Image.new("1", (1, 1))
    image.info = dict(told)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            turned = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # whatever broken EXIF raises: SyntaxError, struct.error, ValueError, ...
        raise Reject("unstrippable", f"EXIF: {type(error).__name__}: {error}"[:200]) from error
    return turned if turned in range(2, 9) else 1


def exif(turned: int) -> bytes:
    """A TIFF header and one tag, the orientation: the bytes that Pillow writes for it. Nothing for upright images."""
    tag = struct.pack(">HHHIHHI", 1, ExifTags.Base.Orientation, 3, 1, turned, 0, 0)
    return b"MM\0*\0\0\0\x08" + tag if turned > 1 else b""


TEXT_RUN, TEXT_LETTERS = 24, 8  # flat pictures may be coded as printable bytes for long, but not as many different ones
_PRINTABLE = bytes(32 if 32 <= byte < 127 else 0 for byte in range(256))
_EXIF = (b"Exif\0\0", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08")


def coded(picture: bytes) -> bytes:
    """A coded picture as it is, unless EXIF or readable text lies in it: then a length or a marker before it is wrong.

    Random bytes are refused once in some 20,000 megabytes.
    """
    printable, at = picture.translate(_PRINTABLE), -TEXT_RUN
    while (at := printable.find(b" " * TEXT_RUN, at + TEXT_RUN)) >= 0:
        if len(set(picture[at : at + TEXT_RUN])) >= TEXT_LETTERS:
            refuse("text inside the coded picture")
    return refuse("EXIF inside the coded picture") if any(mark in picture for mark in _EXIF) else picture
