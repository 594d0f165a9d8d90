"""Crops: where they lie, and that their pixels are Pillow's."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from curation.decode import Reject
from embedder.training.crops import ASPECTS, CropConfig, cut, resized
from embedder.training.crops import boxes as boxes_of_many

SMALL = CropConfig(global_side=32, local_side=16, locals_=3)


def boxes(height: int, width: int, cfg: CropConfig, seed: int, position: int) -> np.ndarray:
    return boxes_of_many(np.array([height]), np.array([width]), cfg, seed, np.array([position]))[0]


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **more) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def test_boxes_lie_inside_with_area_and_aspect_in_range():
    cfg = CropConfig()
    box = np.concatenate([boxes(375, 500, cfg, 0, position) for position in range(400)]).reshape(400, 10, 4)
    top, left, tall, wide = np.moveaxis(box, -1, 0)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + tall <= 375).all()
    assert (left + wide <= 500).all()
    area = tall * wide / (375 * 500)
    assert area[:, :2].min() > 0.31
    assert area[:, :2].max() <= 1
    assert area[:, 2:].min() > 0.049
    assert area[:, 2:].max() < 0.325
    assert abs(area[:, 2:].mean() - (0.05 + 0.32) / 2) < 0.005  # uniform
    assert ASPECTS[0] * 0.98 < (wide / tall).min()
    assert (wide / tall).max() < ASPECTS[1] * 1.02
    assert abs(np.log(wide / tall)[:, 2:].mean()) < 0.01
    share = top[:, 2:] / (375 - tall[:, 2:]).clip(1)
    assert abs(share.mean() - 0.5) < 0.02
    assert share.min() < 0.01
    assert share.max() > 0.99


def test_a_strip_gives_its_largest_central_part():
    cfg = CropConfig(global_area=(1.0, 1.0), locals_=0)
    assert boxes(100, 1000, cfg, 0, 0).tolist() == [[0, 433, 100, 133]] * 2
    assert boxes(1000, 99, cfg, 0, 0).tolist() == [[434, 0, 132, 99]] * 2


def test_boxes_follow_seed_and_position_alone():
    assert np.array_equal(boxes(300, 400, SMALL, 1, 7), boxes(300, 400, SMALL, 1, 7))
    assert not np.array_equal(boxes(300, 400, SMALL, 1, 7), boxes(300, 400, SMALL, 1, 8))
    assert not np.array_equal(boxes(300, 400, SMALL, 1, 7), boxes(300, 400, SMALL, 2, 7))


def test_boxes_of_many_are_those_of_each():
    height, width, position = (
        np.array([300, 64, 1, 99, 300]),
        np.array([400, 64, 300, 1000, 70]),
        np.array([7, 7, 9, 2, 1 << 40]),
    )
    many = boxes_of_many(height, width, CropConfig(), 1, position)
    for h, w, at, box in zip(height, width, position, many, strict=True):
        assert np.array_equal(box, boxes(h, w, CropConfig(), 1, at))


@pytest.mark.parametrize(("height", "width", "side"), [(150, 200, 64), (40, 30, 64), (224, 224, 224), (300, 77, 96)])
def test_resizing_is_pillows(height, width, side):
    image = picture(height, width)
    ours = resized(np.array(image), side).transpose(1, 2, 0).astype(int)
    theirs = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(ours - theirs).max() <= 2
    assert np.abs(ours - theirs).mean() < 0.1


def test_crops_are_what_pillow_cuts_and_resizes():
    image = picture(120, 160)
    crops = list(cut(encoded(image), SMALL, 3, 5))
    assert [crop.shape for crop in crops] == [(3, 32, 32)] * 2 + [(3, 16, 16)] * 3
    for (top, left, tall, wide), crop in zip(boxes(120, 160, SMALL, 3, 5).tolist(), crops, strict=True):
        part = image.crop((left, top, left + wide, top + tall)).resize(crop.shape[1:], Image.Resampling.BICUBIC)
        assert np.abs(np.asarray(part).transpose(2, 0, 1).astype(int) - crop).max() <= 2


def test_a_large_jpeg_is_decoded_small_and_looks_the_same():
    data = encoded(picture(1600, 2000), "JPEG", quality=95)
    whole = list(cut(data, CropConfig(global_side=32, local_side=16, headroom=1000.0), 0, 1))
    scaled = list(cut(data, CropConfig(global_side=32, local_side=16), 0, 1))
    worst = [np.abs(a.astype(int) - b).mean() for a, b in zip(whole, scaled, strict=True)]
    assert 0 < max(worst) < 4  # other pixels, the same crop


def test_a_turned_image_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = picture(80, 120)
    turned = encoded(image.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=98, exif=exif)
    plain = encoded(image, "JPEG", quality=98)
    for a, b in zip(cut(turned, SMALL, 0, 0), cut(plain, SMALL, 0, 0), strict=True):
        assert np.abs(a.astype(int) - b).mean() < 3


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_tiny_images_have_crops(size):
    assert [crop.shape[1] for crop in cut(encoded(picture(*size)), SMALL, 0, 0)] == SMALL.sides


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty_file"), (b"<html>", "not_an_image")])
def test_what_is_no_image_is_rejected(data, reason):
    with pytest.raises(Reject) as caught:
        list(cut(data, SMALL, 0, 0))
    assert caught.value.reason == reason


def test_a_cut_file_is_rejected():
    with pytest.raises(Reject) as caught:
        list(cut(encoded(picture(200, 200), "JPEG")[:1500], SMALL, 0, 0))
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize(
    "wrong", [{"global_side": 0}, {"locals_": -1}, {"global_area": (0.5, 0.2)}, {"local_area": (0.0, 0.3)}, {"headroom": 0.5}]
)
def test_sizes_that_make_no_crop_are_refused(wrong):
    with pytest.raises(ValueError, match=f"data.{next(iter(wrong))}"):
        CropConfig(**wrong)
