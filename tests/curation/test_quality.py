"""Measures of images whose answers are known, and what the PCA hash holds together and apart."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from curation import quality
from curation.decode import decode_grey
from tests.curation.making import encoded, picture


def grey(image: Image.Image) -> quality.Grey:
    return decode_grey(encoded(image), quality.SCREEN_SIDE)


FLAT = np.full((128, 128), 77, np.uint8)
HALVES = np.concatenate([np.zeros((128, 64), np.uint8), np.full((128, 64), 200, np.uint8)], axis=1)
BOARD = np.uint8(255) * (np.indices((128, 128)).sum(axis=0) % 2).astype(np.uint8)
RAMP = np.tile(np.arange(128, dtype=np.uint8), (128, 1))


def test_entropy():
    assert quality.entropy(FLAT) == 0
    assert quality.entropy(HALVES) == 1
    assert quality.entropy(RAMP) == pytest.approx(7)
    assert quality.entropy(np.arange(256, dtype=np.uint8).reshape(16, 16)) == pytest.approx(8)


def test_contrast():
    assert quality.contrast(FLAT) == 0
    assert quality.contrast(HALVES) == 100
    assert quality.contrast(BOARD) == 127.5


def test_sharpness():
    assert quality.sharpness(FLAT) == quality.sharpness(RAMP) == 0  # a ramp has no second derivative
    assert quality.sharpness(BOARD) == pytest.approx(4 * 255)
    assert quality.sharpness(grey(picture(0))) > 4 * quality.sharpness(grey(picture(0).filter(ImageFilter.GaussianBlur(6))))


def test_thumbnail_averages_areas():
    assert quality.thumbnail(HALVES).tolist() == [[0] * 8 + [200] * 8] * 16
    assert set(quality.thumbnail(BOARD).reshape(-1).tolist()) == {128}


@pytest.fixture(scope="module")
def basis() -> quality.Floats:
    thumbs = np.stack([quality.thumbnail(grey(picture(seed))) for seed in range(150)])
    return quality.fit_basis(thumbs, 64)


def test_basis_is_a_mean_and_orthonormal_directions(basis):
    assert basis.shape == (65, 256)
    np.testing.assert_allclose(basis[1:] @ basis[1:].T, np.eye(64), atol=1e-4)
    peaks = np.take_along_axis(basis[1:], np.abs(basis[1:]).argmax(axis=1)[:, None], axis=1)
    assert np.all(peaks > 0)


def test_first_direction_is_that_of_largest_variance():
    rng = np.random.default_rng(0)
    thumbs = np.full((200, 16, 16), 100.0)
    thumbs[:, 3, 4] += rng.normal(scale=30, size=200)
    thumbs[:, 9, 9] += rng.normal(scale=10, size=200)
    directions = quality.fit_basis(np.clip(thumbs, 0, 255).astype(np.uint8), 2)[1:].reshape(2, 16, 16)
    assert directions[0, 3, 4] > 0.99
    assert directions[1, 9, 9] > 0.99


def close_copy(image: Image.Image) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=90)))


def test_hash_mostly_survives_another_encoding_and_tells_pictures_apart(basis):
    def hashed(image: Image.Image) -> str:
        return quality.pca_hash(quality.thumbnail(grey(image)), basis)

    originals = [hashed(picture(seed)) for seed in range(1000, 1040)]
    assert all(len(h) == 16 for h in originals)
    assert len(set(originals)) == 40
    again = [hashed(close_copy(picture(seed))) for seed in range(1000, 1040)]
    assert sum(a == b for a, b in zip(originals, again, strict=True)) >= 24
    bits = [bin(int(a, 16) ^ int(b, 16)).count("1") for a, b in zip(originals, again, strict=True)]
    assert max(bits) <= 4
    apart = [bin(int(a, 16) ^ int(b, 16)).count("1") for a, b in zip(originals, originals[1:], strict=False)]
    assert min(apart) >= 12


def test_hash_is_the_signs_of_the_projections():
    basis = np.zeros((9, 256), np.float32)
    basis[0] = 10
    basis[1, 0] = basis[3, 5] = 1
    basis[4, 7] = -1
    thumb = np.full((16, 16), 10, np.uint8)
    thumb[0, 0], thumb[0, 5], thumb[0, 7] = 11, 12, 13
    assert quality.pca_hash(thumb, basis) == f"{0b10100000:02x}"
