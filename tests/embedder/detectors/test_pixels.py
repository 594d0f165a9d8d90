"""Resizing is OpenCV's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.detectors.pixels import planes, resize_bilinear

cv2 = pytest.importorskip("cv2")


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("seed", range(30))
def test_equals_opencv_for_any_sizes(seed) -> None:
    """Small ones too: there most pixels lie at an edge, where rows and columns are weighted unlike each other."""
    rng = np.random.default_rng(seed)
    height, width, tall, wide = map(int, rng.integers(1, 400 if seed % 2 else 24, 4))
    image = noise(height, width)
    assert np.array_equal(resize_bilinear(image, wide, tall), cv2.resize(image, (wide, tall)))


@pytest.mark.parametrize("size", [(375, 500), (500, 333), (1, 700), (40, 9), (64, 64), (320, 320), (1, 5000), (3000, 2)])
def test_equals_padding_first(size) -> None:
    side, image = max(size), noise(*size)
    square = np.zeros((side, side, 3), np.uint8)
    square[: size[0], : size[1]] = image
    assert np.array_equal(resize_bilinear(image, 320, 320, paper=(side, side)), cv2.resize(square, (320, 320)))


def test_views_are_resized_as_their_copies() -> None:
    image = noise(50, 60)[:, ::-1].transpose(1, 0, 2)
    assert np.array_equal(resize_bilinear(image, 33, 44), resize_bilinear(image.copy(), 33, 44))


def test_planes_are_opencvs_blob() -> None:
    image = noise(32, 48)
    expected = cv2.dnn.blobFromImage(image, 1 / 255, (48, 32), swapRB=True)
    assert np.allclose(planes(image[:, :, ::-1], 1 / 255), expected, atol=1e-7)
    assert planes(image).max() == 255
