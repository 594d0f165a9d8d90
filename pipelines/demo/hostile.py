"""Files that break careless pipelines, each with the reason it must be dropped for, or with none if it is good."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipelines.demo.concepts import draw
from pipelines.demo.edits import as_bytes


@dataclass(frozen=True)
class Odd:
    """name: file name; reason: why it is dropped; None: an odd but good image."""

    name: str
    data: bytes
    reason: str | None


def png_header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that claims a size and holds no pixels. depth: bits a channel; colour: 0 grey, 2 RGB."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def vast_png(side: int) -> bytes:
    """A whole PNG of side x side black pixels in a few kB: a decompression bomb."""
    image = png_header(side, side, depth=1, colour=0)
    rows, packer = b"\0" * (1 + (side + 7) // 8), zlib.compressobj(9)
    body = b"IDAT" + b"".join(packer.compress(rows) for _ in range(side)) + packer.flush()
    for chunk in (body, b"IEND"):
        image += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return image


def broken(seed: int) -> list[Odd]:
    """Files that are no usable image."""
    picture, noise = draw("landscape", seed + 1), np.random.default_rng(seed).bytes(5000)
    png, flat = as_bytes(draw("flowers", seed + 2), "PNG"), Image.new("RGB", (200, 150), (30, 120, 160))
    return [
        Odd("zero.jpg", b"", "empty_file"),
        Odd("cut.jpg", as_bytes(picture)[:4000], "truncated"),
        Odd("cut.png", png[: len(png) // 2], "truncated"),
        Odd("not-found.jpg", b"<!DOCTYPE html><html><title>404</title></html>", "not_an_image"),
        Odd("logo.svg", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "not_an_image"),
        Odd("random.png", noise, "not_an_image"),
        Odd("bomb.png", png_header(50_000, 50_000), "too_many_pixels"),
        Odd("vast.png", vast_png(20_000), "too_many_pixels"),
        Odd("banner.png", as_bytes(picture.resize((640, 32)), "PNG"), "bad_aspect"),
        Odd("one-colour.png", as_bytes(flat, "PNG"), "flat"),
    ] + [Odd(f"icon-{n}.png", as_bytes(draw("dice", seed + n).resize((16, 16)), "PNG"), "too_small") for n in range(8)]


def unusual(seed: int) -> list[tuple[str, Odd]]:
    """(concept, file): good images in forms that trip decoders."""
    deep = np.asarray(draw("marble", seed).convert("L")).astype(np.uint16) * 257
    palette = draw("pie_chart", seed).convert("P", palette=Image.Palette.ADAPTIVE)
    frames = [draw("tartan", seed + n).resize((200, 160)).convert("P", palette=Image.Palette.ADAPTIVE) for n in range(3)]
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = draw("animal", seed).transpose(Image.Transpose.ROTATE_90)
    return [
        ("sea", Odd("print.jpg", as_bytes(draw("sea", seed).convert("CMYK")), None)),
        ("marble", Odd("deep.png", as_bytes(Image.fromarray(deep), "PNG"), None)),
        ("pie_chart", Odd("cutout.png", as_bytes(palette, "PNG", transparency=0), None)),
        ("tartan", Odd("moving.gif", as_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:]), None)),
        ("animal", Odd("phone.jpg", as_bytes(turned, exif=exif), None)),
        ("brick", Odd("mislabelled.png", as_bytes(draw("brick", seed)), None)),
    ]
