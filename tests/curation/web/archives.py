"""WARC bytes made by hand, so that each can be broken in its own way."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable

import zstandard
from PIL import Image

PACK: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}


def record(
    url: str,
    body: bytes,
    content_type: str = "text/html",
    headers: str = "",
    *,
    kind: str = "response",
    status: str = "200 OK",
    length: int | None = None,
    more: str = "",
) -> bytes:
    """One record. headers, more: further lines of the HTTP and the WARC header. length: what it says of itself."""
    told = f"Content-Type: {content_type}\r\n" if content_type else ""
    block = f"HTTP/1.1 {status}\r\n{told}{headers}\r\n".encode() + body if kind == "response" else body
    outer = "application/http; msgtype=response" if kind == "response" else content_type
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{len(url)}>\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
    head += f"WARC-Target-URI: {url}\r\nContent-Type: {outer}\r\n{more}"
    size = len(block) if length is None else length
    return f"{head}Content-Length: {size}\r\n\r\n".encode() + block + b"\r\n\r\n"


def jpeg(level: int, side: int = 24) -> bytes:
    """A small JPEG, different for each level."""
    out = io.BytesIO()
    Image.radial_gradient("L").resize((side, side)).point(lambda v: (v + level) % 256).save(out, "JPEG")
    return out.getvalue()
