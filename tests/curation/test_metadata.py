"""Metadata goes, the picture stays bit for bit, and a file that is not whole is refused."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageSequence
from PIL.PngImagePlugin import PngInfo

from curation.decode import Reject
from curation.metadata import STRIPPED, strip
from tests.curation.making import encoded, picture

SECRET = b"secret: her home is at 47.3769 N, 8.5417 E"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SMALL = picture(0, 32)
FRAMES = [picture(seed, 32) for seed in range(3)]
ANIMATED: dict[str, Any] = {"save_all": True, "append_images": FRAMES[1:], "duration": [50, 70, 90], "loop": 3}


def thumbnail() -> bytes:
    """A JPEG with a secret of its own."""
    return encoded(picture(9, 16), "JPEG", comment=b"thumbnail " + SECRET)


def camera(turned: int | None) -> bytes:
    """EXIF as cameras write it: position, serial number, owner, maker note, and a thumbnail in its second directory."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.ImageDescription] = "Maker", SECRET.decode()
    if turned:
        exif[ExifTags.Base.Orientation] = turned
    about = exif.get_ifd(ExifTags.IFD.Exif)
    about[ExifTags.Base.BodySerialNumber] = "serial " + SECRET.decode()
    about[ExifTags.Base.MakerNote] = b"note " + SECRET
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitude], place[ExifTags.GPS.GPSMapDatum] = (47.0, 22.0, 36.8), SECRET.decode()
    return with_thumbnail(exif.tobytes())


def with_thumbnail(exif: bytes) -> bytes:
    tiff, small = exif[6:], thumbnail()
    count = struct.unpack_from(">H", tiff, 8)[0]
    start = len(tiff) + len(tiff) % 2
    tags = struct.pack(">HHHIHHHHIIHHII", 3, 0x0103, 3, 1, 6, 0, 0x0201, 4, 1, start + 42, 0x0202, 4, 1, len(small)) + bytes(4)
    linked = tiff[: 10 + 12 * count] + struct.pack(">I", start) + tiff[14 + 12 * count :]
    return b"Exif\0\0" + linked.ljust(start, b"\0") + tags + small


def xmp(turned: int = 1) -> bytes:
    return f'<x:xmpmeta><rdf tiff:Orientation="{turned}" place="{SECRET.decode()}"/></x:xmpmeta>'.encode()


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def riff_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def riff(inside: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(inside) + 4) + b"WEBP" + inside


def put_in(data: bytes, at: int, more: bytes) -> bytes:
    return data[:at] + more + data[at:]


def png_with(*chunks: bytes, image: Image.Image = SMALL, **options: Any) -> bytes:
    """Half of the chunks stand before the pixels, half at the end."""
    data, half = encoded(image, "PNG", **options), len(chunks) // 2
    return put_in(put_in(data, len(data) - 12, b"".join(chunks[:half])), 33, b"".join(chunks[half:]))


def seen(data: bytes) -> list[Any]:
    """All that a viewer sees: every frame's pixels and time, mode, size, colours, orientation."""
    with Image.open(io.BytesIO(data)) as image:
        frames = [(frame.info.get("duration"), frame.tobytes()) for frame in ImageSequence.Iterator(image)]
        loop, icc = image.info.get("loop"), image.info.get("icc_profile")
    with Image.open(io.BytesIO(data)) as image:
        return [image.mode, image.size, frames, loop, icc, image.getexif().get(ExifTags.Base.Orientation, 1)]


def check(data: bytes, kind: str) -> bytes:
    """The stripped file, which holds no secret, looks the same and has nothing left to remove."""
    assert SECRET in data
    clean = strip(data, kind)
    assert SECRET not in clean
    assert SECRET[8:20] not in clean
    assert seen(clean) == seen(data)
    assert strip(clean, kind) == clean
    return clean


@pytest.mark.parametrize("turned", [None, *range(1, 9)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_of_a_camera_s_exif_only_the_orientation_stays(kind: str, turned: int | None) -> None:
    data = encoded(SMALL, kind, exif=camera(turned), icc_profile=SRGB)
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        assert image.getexif().get_ifd(ExifTags.IFD.IFD1)[0x0202] == len(thumbnail())
    with Image.open(io.BytesIO(check(data, kind))) as image:
        assert dict(image.getexif()) == ({ExifTags.Base.Orientation: turned} if turned and turned > 1 else {})
        assert image.info["icc_profile"] == SRGB


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_told_by_xmp_alone_stays(kind: str) -> None:
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp(6).decode())
    options: dict[str, Any] = {"pnginfo": text} if kind == "PNG" else {"xmp": xmp(6)}
    assert seen(check(encoded(SMALL, kind, **options), kind))[-1] == 6


@pytest.mark.parametrize("compressed", [False, True])
def test_orientation_in_a_png_s_raw_profile_stays(compressed: bool) -> None:
    text = PngInfo()
    exif = camera(8)
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif)}\n{exif.hex()}", zip=compressed)
    assert seen(check(encoded(SMALL, pnginfo=text) + SECRET, "PNG"))[-1] == 8


TURNED = Image.Exif()
TURNED[ExifTags.Base.Orientation] = 6
PLAIN = {
    "JPEG": encoded(SMALL, "JPEG"),
    "JPEG progressive": encoded(SMALL, "JPEG", progressive=True),
    "JPEG restarts": encoded(SMALL, "JPEG", restart_marker_blocks=1),
    "JPEG progressive restarts": encoded(SMALL, "JPEG", restart_marker_rows=1, progressive=True, subsampling=0),
    "JPEG CMYK": encoded(SMALL.convert("CMYK"), "JPEG", optimize=True),
    "JPEG L": encoded(SMALL.convert("L"), "JPEG"),
    "JPEG ICC of two segments": encoded(SMALL, "JPEG", icc_profile=SRGB.ljust(90_000, b"\0")),
    "JPEG fill bytes": encoded(SMALL, "JPEG").replace(b"\xff\xc0", b"\xff\xff\xff\xc0").replace(b"\xff\xd9", b"\xff\xff\xd9"),
    "JPEG flat": encoded(Image.new("RGB", (300, 300), "teal"), "JPEG", optimize=True),
    "JPEG large": encoded(picture(3, 512), "JPEG", quality=98),
    "PNG": encoded(SMALL),
    "PNG transparent palette": encoded(SMALL.quantize(40), transparency=3),
    "PNG 16 bits": encoded(Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30))),
    "PNG colours": png_with(chunk(b"gAMA", bytes(4)), chunk(b"cICP", bytes(4)), icc_profile=SRGB, dpi=(72, 72)),
    "PNG animated": encoded(SMALL, **ANIMATED),
    "WEBP": encoded(SMALL, "WEBP"),
    "WEBP lossless": encoded(SMALL, "WEBP", lossless=True),
    "WEBP transparent": encoded(Image.merge("RGBA", [*SMALL.split(), SMALL.convert("L")]), "WEBP", icc_profile=SRGB),
    "WEBP animated": encoded(SMALL, "WEBP", **ANIMATED),
    "GIF": encoded(SMALL, "GIF"),
    "GIF animated": encoded(SMALL, "GIF", transparency=0, **ANIMATED),
    **{f"{kind} turned": encoded(SMALL, kind, exif=TURNED) for kind in ("JPEG", "PNG", "WEBP")},
}


@pytest.mark.parametrize("name", PLAIN)
def test_with_nothing_to_remove_a_file_stays_the_same(name: str) -> None:
    assert strip(PLAIN[name], name.split()[0]) == PLAIN[name]


@pytest.mark.parametrize("name", PLAIN)
def test_what_follows_the_image_goes(name: str) -> None:
    for more in (SECRET, thumbnail(), bytes(100) + SECRET):
        assert strip(PLAIN[name] + more, name.split()[0]) == PLAIN[name]


@pytest.mark.parametrize("name", [name for name in PLAIN if name.startswith("JPEG")])
def test_every_odd_segment_of_a_jpeg_goes(name: str) -> None:
    """At its beginning, and before each later segment, between scans too."""
    odd = [segment(marker, SECRET) for marker in (*range(0xE0, 0xF0), 0xFE)]
    odd += [
        segment(0xE0, b"JFXX\0\x10" + thumbnail()),
        segment(0xED, b"Photoshop 3.0\0" + SECRET),
        segment(0xE2, b"MPF\0" + SECRET),
    ]
    assert strip(put_in(PLAIN[name], 2, b"".join(odd)), "JPEG") == PLAIN[name]
    comment = segment(0xFE, SECRET) + segment(0xE1, camera(1))
    among = re.sub(rb"\xff+[\xc4\xda\xd9]", lambda found: comment + found[0], PLAIN[name])
    assert among.count(comment) > 2
    assert strip(among, "JPEG") == PLAIN[name]


def test_jfif_loses_its_thumbnail_and_adobe_its_appendix() -> None:
    small = np.frombuffer(SECRET[:42], np.uint8).tobytes()
    jfif = PLAIN["JPEG"].replace(segment(0xE0, PLAIN["JPEG"][6:20]), segment(0xE0, PLAIN["JPEG"][6:18] + b"\x0e\x01" + small))
    adobe = PLAIN["JPEG CMYK"]
    at = adobe.index(b"\xff\xee")
    longer = adobe[:at] + segment(0xEE, adobe[at + 4 : at + 16] + SECRET) + adobe[at + 16 :]
    assert check(jfif, "JPEG") == PLAIN["JPEG"]
    assert check(longer, "JPEG") == adobe


def test_exif_of_two_segments_is_one() -> None:
    exif = camera(5)
    both = segment(0xE1, exif[:100]) + segment(0xE1, b"Exif\0\0" + exif[100:])
    assert seen(check(put_in(PLAIN["JPEG"], 2, both), "JPEG"))[-1] == 5


def test_an_mpo_becomes_its_first_image() -> None:
    data = encoded(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:])
    clean = strip(data, "MPO")
    with Image.open(io.BytesIO(data)) as several, Image.open(io.BytesIO(clean)) as one:
        assert (several.format, one.format, one.tobytes()) == ("MPO", "JPEG", several.tobytes())
    assert len(clean) < len(data) / 2


@pytest.mark.parametrize("name", [name for name in PLAIN if name.startswith("PNG")])
def test_text_times_and_unknown_chunks_of_a_png_go(name: str) -> None:
    text = [b"tEXt", b"zTXt", b"iTXt", b"tIME", b"prVt", b"vpAg", b"caBX", b"dSIG"]
    data = put_in(PLAIN[name], 33, b"".join(chunk(kind, b"k\0" + SECRET) for kind in text))
    data = put_in(data, len(data) - 12, chunk(b"tEXt", b"k\0" + SECRET))
    assert strip(data, "PNG") == PLAIN[name]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_an_animation_keeps_its_frames(kind: str) -> None:
    options: dict[str, Any] = {"comment": SECRET} if kind == "GIF" else {"exif": camera(3)}
    clean = check(encoded(SMALL, kind, **ANIMATED, **options), kind)
    with Image.open(io.BytesIO(clean)) as image:
        assert image.n_frames == 3


def test_a_webp_says_no_more_than_it_holds() -> None:
    """Unknown chunks go, in frames too; the flags and the length are those of what is left."""
    still = encoded(SMALL, "WEBP", exif=camera(1), xmp=xmp(), icc_profile=SRGB)
    clean = check(riff(still[12:] + riff_chunk(b"meta", SECRET + b"!")), "WEBP")
    assert (clean[20], int.from_bytes(clean[4:8], "little")) == (0x20, len(clean) - 8)
    moving = PLAIN["WEBP animated"]
    at = moving.index(b"ANMF")
    length = int.from_bytes(moving[at + 4 : at + 8], "little")
    frame = riff_chunk(b"ANMF", moving[at + 8 : at + 8 + length] + riff_chunk(b"meta", SECRET))
    assert check(riff(moving[12:at] + frame + moving[at + 8 + length :]), "WEBP") == moving


def test_comments_text_and_applications_of_a_gif_go() -> None:
    def blocks(data: bytes) -> bytes:
        return bytes([len(data)]) + data + b"\0"

    odd = b"!\xfe" + blocks(SECRET) + b"!\x01\x0c" + bytes(12) + blocks(SECRET) + b"!\xff\x0bICCRGBG1012" + blocks(SECRET)
    odd += b"!\xff\x0bXMP DataXMP" + xmp() + b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    data = PLAIN["GIF animated"]
    at = 13 + (3 << (data[10] % 8 + 1))
    assert check(put_in(put_in(data, len(data) - 1, odd), at, odd), "GIF") == data
    with pytest.raises(Reject, match="turned by its XMP"):
        strip(put_in(data, at, odd.replace(xmp(), xmp(6))), "GIF")


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "AVIF", "PPM", "JPEG2000"])
def test_other_formats_come_back_as_they_are_and_are_not_called_stripped(kind: str) -> None:
    data = encoded(SMALL, kind) + SECRET
    assert strip(data, kind) == data
    assert kind not in STRIPPED


JPEG, PNG, WEBP, GIF = (PLAIN[kind] for kind in ("JPEG", "PNG", "WEBP", "GIF"))
SCAN = JPEG.index(b"\xff\xda") + 14
TABLE = JPEG.index(b"\xff\xdb")


@pytest.mark.parametrize(
    ("data", "kind", "detail"),
    [
        (b"", "JPEG", "not a JPEG"),
        (JPEG, "PNG", "not a PNG"),
        (JPEG, "WEBP", "not a whole WebP"),
        (JPEG, "GIF", "not a GIF"),
        (JPEG[:-2], "JPEG", "no end"),
        (JPEG[:2] + b"\xff\xd9", "JPEG", "without a scan"),
        (put_in(JPEG, 2, b"junk"), "JPEG", "no marker"),
        (put_in(JPEG, 2, segment(0xF0, SECRET)), "JPEG", "unknown marker f0"),
        (put_in(JPEG, 2, b"\xff\xfe\x00\x01"), "JPEG", "ends outside"),
        (put_in(JPEG, 2, segment(0xDB, SECRET)), "JPEG", "not of its length"),
        (put_in(JPEG, 2, segment(0xDB, JPEG[TABLE + 4 : TABLE + 69] + SECRET)), "JPEG", "not of its length"),
        (put_in(JPEG, SCAN, b"\xff\xd0"), "JPEG", "restart markers"),
        (put_in(JPEG, SCAN, SECRET), "JPEG", "text inside"),
        (put_in(JPEG, SCAN, camera(1)[:20]), "JPEG", "EXIF inside"),
        (put_in(JPEG, SCAN + 40, thumbnail()), "JPEG", "no marker|ends outside|unknown marker"),
        (put_in(JPEG, 2, segment(0xE1, b"Exif\0\0broken")), "JPEG", "EXIF: "),
        (PNG[:-12], "PNG", "no whole chunk"),
        (put_in(PNG, 33, chunk(b"SECR", SECRET)), "PNG", "unknown critical"),
        (put_in(PNG, 33, chunk(b"gAMA", SECRET)), "PNG", "too long"),
        (put_in(PNG, 33, chunk(b"tEXt", SECRET)[:-1] + b"?"), "PNG", "wrong checksum"),
        (WEBP[:-2], "WEBP", "not a whole"),
        (riff(WEBP[12:] + WEBP[12:]), "WEBP", "not one picture"),
        (riff(WEBP[12:] + b"EXIF\xff\0\0\0"), "WEBP", "no whole chunk"),
        (
            riff(WEBP[12:16] + struct.pack("<I", len(WEBP) + 30) + WEBP[20:] + riff_chunk(b"EXIF", SECRET)),
            "WEBP",
            "text inside",
        ),
        (riff(b""), "WEBP", "not one picture"),
        (GIF[:-1], "GIF", "no block"),
        (GIF[:-40], "GIF", "no end"),
        (GIF[:13] + GIF[13 : 13 + (3 << (GIF[10] % 8 + 1))] + b";", "GIF", "without images"),
        (put_in(GIF, len(GIF) - 1, b"!\xf9\x2a" + SECRET + b"\0"), "GIF", "control block"),
    ],
)
def test_what_cannot_be_walked_is_refused(data: bytes, kind: str, detail: str) -> None:
    with pytest.raises(Reject, match=detail) as caught:
        strip(data, kind)
    assert caught.value.reason == "unstrippable"


def secretive() -> Iterator[tuple[str, bytes]]:
    """A small file of each structure with secrets wherever it can hold some."""
    tiny = picture(1, 16)
    comment = segment(0xFE, SECRET)
    for options in ({"progressive": True}, {"restart_marker_blocks": 1}):
        data = re.sub(rb"\xff[\xc4\xda\xd9]", lambda found: comment + found[0], encoded(tiny, "JPEG", **options))
        told = segment(0xE1, camera(6)) + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp())
        yield "JPEG", put_in(data, 2, told) + SECRET
    yield "PNG", png_with(*(chunk(kind, b"k\0" + SECRET) for kind in (b"tEXt", b"prVt")), image=tiny, exif=camera(6)) + SECRET
    yield "WEBP", encoded(tiny, "WEBP", exif=camera(6), xmp=xmp()) + SECRET
    yield "WEBP", encoded(tiny, "WEBP", lossless=True, exif=camera(6), xmp=xmp())
    yield "GIF", encoded(tiny.quantize(8), "GIF", comment=SECRET, save_all=True, append_images=[FRAMES[1].quantize(8)]) + SECRET


SECRETIVE = list(secretive())


def keeps_no_secret(data: bytes, kind: str) -> None:
    with contextlib.suppress(Reject):
        assert SECRET not in strip(data, kind)


@pytest.mark.parametrize(("kind", "data"), SECRETIVE)
def test_what_holds_secrets_is_stripped_while_it_is_whole(kind: str, data: bytes) -> None:
    assert check(data, kind) != data


@pytest.mark.parametrize(("kind", "data"), SECRETIVE)
def test_no_single_wrong_byte_lets_a_secret_through(kind: str, data: bytes) -> None:
    for at, value in enumerate(data):
        for wrong in (0, 0xFF, value ^ 1, value ^ 0x20, 0xD0):
            keeps_no_secret(data[:at] + bytes([wrong]) + data[at + 1 :], kind)


@pytest.mark.parametrize(("kind", "data"), SECRETIVE)
def test_no_cut_lets_a_secret_through(kind: str, data: bytes) -> None:
    for at in range(len(data)):
        keeps_no_secret(data[:at], kind)


changes = st.tuples(st.integers(0, 1 << 16), st.integers(0, 40), st.binary(max_size=8))


@settings(max_examples=500, deadline=1000)
@given(file=st.sampled_from(SECRETIVE), changes=st.lists(changes, min_size=1, max_size=4), keep=st.floats(0.2, 1.2))
def test_whatever_is_broken_keeps_no_secret(
    file: tuple[str, bytes], changes: list[tuple[int, int, bytes]], keep: float
) -> None:
    """Bytes changed, taken out, put in, and cut off."""
    kind, odd = file
    for at, length, instead in changes:
        at %= len(odd)
        odd = odd[:at] + instead + odd[at + length :]
    keeps_no_secret(odd[: int(len(odd) * keep)], kind)
