"""A face is unrecognisable after it, in its place and only there, whatever the image's format, mode, rotation and size."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, JpegImagePlugin

from curation.blur import blur_faces
from curation.decode import Reject
from tests.curation.making import encoded, picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FACE = (40, 30, 90, 95)  # x0 y0 x1 y1


def busy(mode: str = "RGB", size: tuple[int, int] = (160, 128)) -> Image.Image:
    """Cells of 4 x 4 pixels of random levels: what is left of them in a face of 50 pixels is their mean."""
    cells = np.random.default_rng(0).integers(0, 256, (size[1] // 4, size[0] // 4, 4), np.uint8)
    levels = cells.repeat(4, axis=0).repeat(4, axis=1)
    if mode == "I;16":
        return Image.fromarray(levels[:, :, 0].astype(np.uint16) * 257)
    if mode in ("I", "F"):
        return Image.fromarray(levels[:, :, 0].astype({"I": np.int32, "F": np.float32}[mode]))
    if mode == "LA":
        return Image.merge("LA", [Image.fromarray(levels[:, :, band]) for band in (0, 1)])
    if mode == "P":
        return Image.fromarray(levels[:, :, :3]).quantize(200)
    if mode in ("L", "1"):
        return Image.fromarray(levels[:, :, 0]).convert(mode)
    image = Image.fromarray(levels, "RGBA" if mode != "CMYK" else "CMYK")
    return image if image.mode == mode else image.convert(mode)


def boxes(*corners: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(corners, np.float32)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def levels(image: Image.Image) -> NDArray[np.float64]:
    """(H, W, bands) of what a viewer sees."""
    if image.mode in ("P", "1"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    values = np.asarray(image).astype(np.float64)
    return values[:, :, None] if values.ndim == 2 else values


def detail(values: NDArray[np.float64], box: tuple[int, ...]) -> float:
    """The mean change from a pixel to the fourth next to it, in the middle of a box (the ellipse's inner square)."""
    x0, y0, x1, y1 = box
    x, y = (x1 - x0) // 6, (y1 - y0) // 6
    inner = values[y0 + y : y1 - y, x0 + x : x1 - x]
    return float(np.abs(inner[:, 4:] - inner[:, :-4]).mean() + np.abs(inner[4:] - inner[:-4]).mean())


def ellipses(shape: tuple[int, ...], wide: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a pixel lies in the ellipse of any of these boxes, or less than a pixel beside it."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = np.zeros(shape[:2], bool)
    for x0, y0, x1, y1 in wide.tolist():
        width, height = (x1 - x0) / 2 + 1, (y1 - y0) / 2 + 1
        inside |= ((x + 0.5 - (x0 + x1) / 2) / width) ** 2 + ((y + 0.5 - (y0 + y1) / 2) / height) ** 2 < 1
    return inside


LOSSLESS = [
    *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    *(("TIFF", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F")),
    *(("BMP", mode) for mode in ("1", "L", "P", "RGB")),
    *(("TGA", mode) for mode in ("L", "RGB", "RGBA")),
    *(("JPEG2000", mode) for mode in ("L", "RGB", "RGBA")),
    *(("GIF", mode) for mode in ("L", "P")),
    ("PPM", "RGB"), ("SGI", "RGB"), ("DIB", "RGB"), ("PCX", "RGB"), ("DDS", "RGBA"), ("WEBP", "RGB"), ("WEBP", "RGBA"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "mode"), LOSSLESS)
def test_without_loss_nothing_but_the_face_changes(kind: str, mode: str) -> None:
    options: dict[str, Any] = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = encoded(busy(mode), kind, **options)
    made = blur_faces(data, boxes(FACE))
    before, image = levels(opened(data)), opened(made.data)
    after = levels(image)
    assert (image.format, made.format, image.size) == (kind, kind, (160, 128))
    outside = ~ellipses(after.shape, made.boxes)
    assert (before[outside] == after[outside]).all()
    limit = 0.4 if kind == "GIF" else 0.2  # a GIF keeps its palette: the mean colours are dithered
    assert detail(after, FACE) < limit * detail(before, FACE)


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("AVIF", "RGB")])
def test_lossy_formats_stay_themselves_and_close(kind: str, mode: str) -> None:
    data = encoded(busy(mode), kind, quality=85)
    made = blur_faces(data, boxes(FACE))
    before, after = levels(opened(data)), levels(opened(made.data))
    assert made.format == kind == opened(made.data).format
    assert opened(made.data).mode == mode
    assert np.abs(before - after)[~ellipses(after.shape, made.boxes)].mean() < 12
    assert detail(after, FACE) < 0.2 * detail(before, FACE)


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_boxes_are_those_of_the_upright_image(kind: str, turned: int) -> None:
    """What is stored is a turned image; the result is upright, so it must not be turned again."""
    way = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that undoes the orientation
    stored = busy() if turned == 1 else busy().transpose(Image.Transpose(way[turned]))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turned
    made = blur_faces(encoded(stored, kind, exif=exif), boxes(FACE))
    image = opened(made.data)
    after, before = levels(image), levels(busy())
    assert (image.size, image.getexif().get(ExifTags.Base.Orientation, 1)) == ((160, 128), 1)
    assert detail(after, FACE) < 0.2 * detail(before, FACE)
    assert np.abs(before - after)[~ellipses(after.shape, made.boxes)].mean() < (1 if kind in ("PNG", "TIFF") else 40)


@pytest.mark.parametrize("side", [12, 40, 200, 700])
def test_whatever_its_size_a_face_keeps_as_little(side: int) -> None:
    """The face is 24 x 24 random cells, to be told by its cells: what is left tells few of them apart."""
    cells = np.random.default_rng(1).integers(0, 256, (24, 24), np.uint8)
    face = Image.fromarray(cells).resize((side, side), Image.Resampling.NEAREST if side > 24 else Image.Resampling.BOX)
    image = Image.new("L", (2 * side, 2 * side), 128)
    image.paste(face, (side // 2, side // 2))
    corner = side // 2
    box = (corner, corner, corner + side, corner + side)
    before, after = levels(image), levels(opened(blur_faces(encoded(image), boxes(box)).data))
    third = slice(corner + side // 3, corner + 2 * side // 3)
    kept = after[third, third].std() / before[third, third].std()
    assert kept < (0.45 if side > 12 else 0.7)


def test_a_face_is_blurred_to_its_edge_and_the_edge_is_soft() -> None:
    flat = np.full((200, 200), 40, np.uint8)
    flat[:, 100:] = 220
    made = blur_faces(encoded(Image.fromarray(flat)), boxes((50, 50, 150, 150)))
    after = levels(opened(made.data))[:, :, 0]
    column = np.abs(after - flat).max(axis=1)
    assert made.boxes.tolist() == [[35, 35, 165, 165]]
    assert (column[50:150] > 60).all()  # the whole height of the face
    assert np.abs(np.diff(after, axis=0)).max() < 30  # nowhere a hard edge along the contrast
    assert (column[:35] == 0).all()
    assert (column[165:] == 0).all()


@pytest.mark.parametrize("box", [(-30, -20, 40, 60), (130, 100, 190, 170), (-50, -50, 300, 300), (-40, 20, 20, 100)])
def test_a_face_partly_outside_is_blurred_where_it_is_seen(box: tuple[int, ...]) -> None:
    """Its ellipse is that of the whole face: where the image cuts it, the cut edge is blurred too."""
    made = blur_faces(encoded(busy()), boxes(box))
    before, after = levels(busy()), levels(opened(made.data))
    y, x = np.mgrid[:128, :160] + 0.5
    x0, y0, x1, y1 = box
    face = ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 < 0.95
    assert np.abs(before - after)[face].mean() > 40
    assert (np.abs(before - after)[face].max(axis=1) > 0).mean() > 0.98
    assert made.boxes[0].tolist() == np.clip(made.boxes[0], 0, (160, 128, 160, 128)).tolist()


def test_several_faces_and_scores_beside_the_boxes() -> None:
    other = (100, 60, 150, 120)
    made = blur_faces(encoded(busy()), boxes((*FACE, 0.9), (*other, 0.8)))
    before, after = levels(busy()), levels(opened(made.data))
    assert made.boxes.tolist() == [[32, 20, 98, 105], [92, 51, 158, 128]]
    outside = ~ellipses(after.shape, np.concatenate([made.boxes[:1], [[92, 51, 158, 129]]]))
    assert (before[outside] == after[outside]).all()
    assert all(detail(after, box) < 0.2 * detail(before, box) for box in (FACE, other))


def test_a_box_beside_the_image_or_without_an_area_changes_nothing() -> None:
    made = blur_faces(encoded(busy()), boxes(FACE, (300, 10, 400, 90), (-90, -90, -50, -50), (20, 10, 20, 10)))
    assert blur_faces(encoded(busy()), boxes((20.5, 10, 20.5, 30))).boxes.tolist() == [[20, 7, 21, 33]]
    alone = blur_faces(encoded(busy()), boxes(FACE))
    assert made.data == alone.data
    assert [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in made.boxes[1:].tolist()] == [0, 0, 0]


def test_an_icon_becomes_a_png_of_its_size() -> None:
    made = blur_faces(encoded(busy(), "ICO", sizes=[(160, 128)]), boxes(FACE))
    assert (made.format, opened(made.data).format, opened(made.data).size) == ("PNG", "PNG", (160, 128))


def test_the_margin_widens_the_box() -> None:
    assert blur_faces(encoded(busy()), boxes(FACE), margin=0.0).boxes.tolist() == [list(FACE)]
    assert blur_faces(encoded(busy()), boxes(FACE), margin=0.5).boxes.tolist() == [[15, 0, 115, 128]]


def test_a_jpeg_keeps_its_tables_sampling_scans_and_colours() -> None:
    for sampling in (0, 1, 2):
        for progressive in (False, True):
            options = {"quality": 61, "subsampling": sampling, "progressive": progressive, "icc_profile": SRGB}
            data = encoded(busy(), "JPEG", **options)
            source, image = opened(data), opened(blur_faces(data, boxes(FACE)).data)
            assert image.quantization == source.quantization
            assert JpegImagePlugin.get_sampling(image) == sampling
            assert ("progressive" in image.info) == progressive
            assert image.info["icc_profile"] == SRGB


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF"])
def test_no_metadata_goes_along(kind: str) -> None:
    secret = "secret place"
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = secret
    options: dict[str, Any] = {"comment": secret.encode()} if kind in ("GIF", "JPEG") else {}
    options |= {"exif": exif, "xmp": f"<x>{secret}</x>".encode()} if kind != "GIF" else {}
    data = encoded(busy(), kind, **options)
    assert secret.encode() in data
    assert secret.encode() not in blur_faces(data, boxes(FACE)).data


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_colours_are_kept(kind: str) -> None:
    assert opened(blur_faces(encoded(busy(), kind, icc_profile=SRGB), boxes(FACE)).data).info["icc_profile"] == SRGB


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "P"), ("PNG", "L"), ("PNG", "RGB"), ("GIF", "P")])
def test_transparency_is_kept(kind: str, mode: str) -> None:
    image = busy(mode)
    key = image.getpixel((0, 0))
    data = encoded(image, kind, transparency=key)
    before, after = (opened(d).convert("RGBA") for d in (data, blur_faces(data, boxes(FACE)).data))
    assert before.getpixel((0, 0))[3] == after.getpixel((0, 0))[3] == 0
    assert after.getpixel((159, 127))[3] == before.getpixel((159, 127))[3] == 255


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_of_several_frames_the_first_is_left(kind: str) -> None:
    data = encoded(busy(), kind, save_all=True, append_images=[picture(1, 128).resize((160, 128))])
    made = blur_faces(data, boxes(FACE))
    image = opened(made.data)
    assert (getattr(image, "n_frames", 1), image.format) == (1, "JPEG" if kind == "MPO" else kind)
    assert detail(levels(image), FACE) < 0.35 * detail(levels(busy()), FACE)


def test_a_lossless_webp_stays_lossless_and_a_lossy_one_lossy() -> None:
    lossless, lossy = (encoded(busy(), "WEBP", lossless=kind, icc_profile=SRGB) for kind in (True, False))
    assert b"VP8L" in blur_faces(lossless, boxes(FACE)).data
    assert b"VP8 " in blur_faces(lossy, boxes(FACE)).data


def test_equal_bytes_give_equal_bytes() -> None:
    data = encoded(busy(), "JPEG")
    assert blur_faces(data, boxes(FACE)).data == blur_faces(data, boxes(FACE)).data


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((0, 4), np.float32),
        np.zeros((0, 5), np.float32),
        boxes((1, 2, 3)),
        boxes((20, 10, 10, 20)),
        boxes((float("nan"), 10, 30, 20)),
        boxes((0, 0, float("inf"), 20)),
    ],
)
def test_boxes_that_are_none_are_an_error(wrong: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="boxes must"):
        blur_faces(encoded(busy()), wrong)


@pytest.mark.parametrize("data", [b"", b"<svg/>", encoded(busy(), "JPEG")[:2000], encoded(busy(), "GIF")[:900]])
def test_what_cannot_be_decoded_is_refused(data: bytes) -> None:
    with pytest.raises(Reject):
        blur_faces(data, boxes(FACE))


def test_levels_that_are_no_numbers_stay_outside_the_face() -> None:
    image = np.asarray(busy("F")).copy()
    image[30, 40] = np.nan  # in the corner of the face's box
    after = np.asarray(opened(blur_faces(encoded(Image.fromarray(image), "TIFF"), boxes(FACE)).data))
    outside = ~ellipses(after.shape, blur_faces(encoded(busy("F"), "TIFF"), boxes(FACE)).boxes)
    assert np.array_equal(after[outside], image[outside], equal_nan=True)
