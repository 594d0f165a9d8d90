"""Keypoints and what two pictures share, on edits whose geometry is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from curation.keypoints import MOST, SIDE, find_keypoints, lay_out, look, mirrored
from curation.matching import shared_points
from tests.curation.making import encoded


def blobs(seed: int, size: tuple[int, int] = (300, 220)) -> Image.Image:
    """Smooth noise of several sizes: as much to hold on to as a photograph has."""
    chance = np.random.default_rng(seed)
    layers = [Image.fromarray(chance.integers(0, 256, (n, n, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
              for n in (8, 16, 32, 64)]  # fmt: skip
    return Image.fromarray(np.mean([np.asarray(layer) for layer in layers], axis=0).astype(np.uint8))


def shared(a: Image.Image, b: Image.Image) -> int:
    points = look([encoded(a), encoded(b)])
    one, other = torch.tensor([0]), torch.tensor([1])
    there, back = (int(shared_points(points.take(x), points.take(y))) for x, y in ((one, other), (other, one)))
    assert abs(there - back) <= max(3, there // 2)
    return there


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: p,
        ImageOps.mirror,
        ImageOps.flip,
        ImageOps.grayscale,
        lambda p: p.rotate(90, expand=True),
        lambda p: p.rotate(33, expand=True),
        lambda p: p.resize((150, 110)),
        lambda p: p.crop((30, 20, 230, 170)),
        lambda p: ImageOps.expand(p, 60, (255, 255, 255)),
        lambda p: Image.blend(p, Image.new("RGB", p.size, (128, 128, 128)), 0.4),
    ],
    ids=["same", "mirror", "flip", "grey", "quarter", "33 degrees", "half", "crop", "frame", "faded"],
)
def test_a_copy_shares_many_points(edit):
    assert shared(blobs(1), edit(blobs(1)).convert("RGB")) >= 8


def test_other_pictures_share_few():
    points = look([encoded(blobs(seed)) for seed in range(12)])
    a, b = torch.combinations(torch.arange(12)).unbind(1)
    assert shared_points(points.take(a), points.take(b)).max() <= 5


def test_what_cannot_be_read_or_is_plain_shares_nothing():
    points = look([None, b"no picture", encoded(Image.new("RGB", (99, 80), (200, 10, 10))), encoded(blobs(1))])
    assert points.valid_BK.sum(1).tolist()[:3] == [0, 0, 0]
    assert points.valid_BK.sum(1)[3] > 20
    three = torch.tensor([3, 3, 3, 3])
    assert shared_points(points.take(torch.arange(4)), points.take(three)).tolist()[:3] == [0, 0, 0]


def test_a_picture_keeps_its_aspect_and_long_strips_are_pictures_too():
    laid = lay_out(encoded(blobs(1, (300, 150))))
    assert laid.shape == (SIDE, SIDE)
    assert np.ptp(laid[SIDE // 2 :], axis=0).max() == 0  # below the picture its last row goes on
    assert lay_out(encoded(blobs(1, (4000, 9)))).shape == (SIDE, SIDE)
    assert look([]).valid_BK.shape == (0, MOST)


def test_words_of_the_mirror_image_are_known_beforehand():
    picture = torch.from_numpy(np.array(ImageOps.grayscale(blobs(3, (SIDE, SIDE))))).float() / 255
    plain, flipped = find_keypoints(picture[None]), find_keypoints(picture.flip(1)[None])
    place = torch.stack([SIDE - 1 - plain.place_BK4[0, :, 0], *plain.place_BK4[0, :, 1:3].T], dim=1)
    near = torch.cdist(place, flipped.place_BK4[0, :, :3], p=1)
    found = near.amin(1) < 1
    words = mirrored(plain.unit_words())[0][found]
    assert found.sum() >= 10
    assert (words * flipped.unit_words()[0][near.argmin(1)[found]]).sum(1).median() > 0.9


def test_the_same_whatever_the_batch():
    data = [encoded(blobs(seed)) for seed in range(5)]
    together, alone = look(data), look(data[3:4])
    assert torch.equal(together.words_BKD[3], alone.words_BKD[0])
    assert torch.allclose(together.place_BK4[3], alone.place_BK4[0], atol=1e-4)
