"""A response's body: read within bounds, unpacked within bounds, and looked at: does it begin as an image?"""

from __future__ import annotations

import asyncio
import io
import warnings
import zlib
from collections.abc import Mapping

import aiohttp
from PIL import Image

from curation.decode import FORMATS
from curation.web.urls import Refused

CHUNK = 1 << 16
READS, HEADER = 10_000, 8 << 20  # pieces and bytes that an image's header may have; more are made to cost time
ROOM, LANES = 1 << 30, 4  # bytes of unfinished bodies that a crawler holds, and how many are read on beyond that
SMALL = 1 << 16  # bytes that cost little however they are cut
SETTING = b"8BIM"  # a Photoshop setting inside a JPEG's segment, which Pillow takes apart one by one


class Held:
    """The bytes of all bodies that are being read; above `room` only `LANES` of them read on, the others wait for theirs."""

    def __init__(self, room: int = ROOM) -> None:
        self.room, self.size = room, 0
        self.lanes = asyncio.Semaphore(LANES)


async def read_body(response: aiohttp.ClientResponse, most: int, held: Held) -> bytes:
    """The body, decompressed; Refused too_many_bytes as soon as either form passes `most`.

    It is unpacked at its end only: until then a response takes no more memory than it has sent.
    """
    if (response.content_length or 0) > most:
        response.close()
        raise Refused("too_many_bytes", f"{response.content_length} announced")
    packed = _packed(response.headers)
    parts, size, in_lane = list[bytes](), 0, False
    try:
        async for chunk in response.content.iter_chunked(CHUNK):
            parts.append(chunk)
            size += len(chunk)
            held.size += len(chunk)
            if size > most:
                response.close()
                raise Refused("too_many_bytes", f"more than {most}")
            if held.size > held.room and not in_lane:
                in_lane = await held.lanes.acquire()
    finally:
        held.size -= size
        if in_lane:
            held.lanes.release()
    return _unpacked(parts, most) if packed else b"".join(parts)


def _packed(headers: Mapping[str, str]) -> bool:
    """Whether the body is gzip or deflate, which are undone though they were not asked for; anything else is refused."""
    encoding = headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return False
    if encoding in ("gzip", "x-gzip", "deflate"):
        return True
    raise Refused("content_encoding", encoding[:40])


def _unpacked(parts: list[bytes], most: int) -> bytes:
    unpack, plain, size = zlib.decompressobj(zlib.MAX_WBITS | 32), list[bytes](), 0
    for part in parts:
        plain.append(unpack.decompress(part, most + 1 - size))
        size += len(plain[-1])
        if size > most:
            raise Refused("too_many_bytes", f"more than {most}")
    if not unpack.eof:
        raise Refused("incomplete_body", "compressed data ends early")
    return b"".join(plain)


class _Pieces(io.BytesIO):
    """Bytes that can be read only so often: decoders go through markers and chunks one by one, and join them, in Python."""

    pieces, size = 0, 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.pieces += 1
        self.size += max(0, size or 0)  # a decoder that reads all at once does not do it piece by piece
        if self.pieces > READS or self.size > HEADER:
            raise ValueError(f"its header has more than {READS:,} pieces, or {HEADER >> 20} MiB")
        data = super().read(size)
        self.pieces += data.count(SETTING)
        return data


def image_kind(data: bytes) -> tuple[str, int]:
    """The format and the pixels of what begins as an image. Raises Refused: empty_body, not_an_image, too_many_pixels."""
    if not data:
        raise Refused("empty_body")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(_Pieces(data) if len(data) > SMALL else io.BytesIO(data), formats=FORMATS) as image:
                return str(image.format), image.width * image.height
    except Image.DecompressionBombError as error:
        raise Refused("too_many_pixels", str(error)) from error
    except Exception as error:  # whatever a decoder raises on hostile bytes
        raise Refused("not_an_image", type(error).__name__) from error
