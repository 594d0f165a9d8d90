"""An image's bytes without what they tell besides the picture, and without re-encoding it.

Gone: positions, serial numbers, maker notes, thumbnails (which may show an unblurred face), XMP, IPTC, comments, times,
and whatever follows the image's end. Kept, bit for bit: the coded picture, its colours (ICC, Adobe, gamma), its animation.
The orientation is kept as an EXIF block of that one tag. A file with nothing to remove comes back byte-identical.

Structures are walked, never searched, and each kept part has to be of its form: a file that is cut or broken is refused.
The coded picture is not decoded here, and an ICC profile not read: bytes hidden inside them stay, except that a coded
picture is refused where EXIF or readable text shows in it.
"""

from __future__ import annotations

from curation.metadata.gif import strip_gif
from curation.metadata.jpeg import strip_jpeg
from curation.metadata.png import strip_png
from curation.metadata.webp import strip_webp

_WALKS = {"JPEG": strip_jpeg, "MPO": strip_jpeg, "PNG": strip_png, "WEBP": strip_webp, "GIF": strip_gif}
STRIPPED = frozenset(_WALKS)
"""Formats that `strip` cleans. Others come back as they are, with whatever metadata they hold."""


def strip(data: bytes, kind: str, /) -> bytes:
    """Encoded bytes of a format (Pillow's name) without metadata; a format not in STRIPPED as it is.

    Pixels, ICC profile and orientation stay as Pillow reads them; an MPO becomes its first image, a JPEG.
    Raises Reject("unstrippable") for what cannot be walked to its end: no byte of it is safe to hand on.
    """
    return _WALKS[kind](data) if kind in _WALKS else data
