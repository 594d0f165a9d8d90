"""Keypoints: found, laid out, mirrored, and the same in any batch."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageOps

from curation.keypoints import MOST, SIDE, find_keypoints, lay_out, look, mirrored
from curation.matching import shared_points
from tests.curation.making import blobs, encoded


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
