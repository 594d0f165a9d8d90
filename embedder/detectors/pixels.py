"""Bilinear resizing as OpenCV does it with 8-bit images, so that a network sees what it was tested with.

OpenCV does it where it can be imported (the packages that carry the detectors bring it, but its GUI build fails without
the system's GL library). Else the same arithmetic here, some ten times slower: no antialiasing, weights in 1/2048, sums
cut to the bits that its vector code keeps (opencv, modules/imgproc/src/resize.cpp: HResizeLinear, VResizeLinearVec_32s8u).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Places, Weights = NDArray[np.int64], NDArray[np.int32]


def resize_bilinear(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 to (height, width, 3) uint8."""
    if image.shape[:2] == (height, width):
        return image
    opencv = _opencv()
    return plain(image, width, height) if opencv is None else opencv.resize(image, (width, height))


@functools.cache
def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)
    return cv2


def plain(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The same without OpenCV: equal when reducing; when enlarging, some pixels in a thousand differ by one level."""
    top, bottom, upper, lower = _weights(image.shape[0], height)
    left, right, first, second = _weights(image.shape[1], width)
    columns = np.ascontiguousarray(image.transpose(1, 0, 2)).reshape(image.shape[1], -1)  # gathering whole rows is fast
    across = _mixed(columns, left, right, first, second)
    across >>= 4
    rows = np.ascontiguousarray(across.astype(np.int16).reshape(width, -1, 3).transpose(1, 0, 2)).reshape(-1, width * 3)
    down = rows[top] * upper[:, None]
    down >>= 16
    other = rows[bottom] * lower[:, None]
    other >>= 16
    down += other
    down += 2
    down >>= 2
    return down.astype(np.uint8).reshape(height, width, 3)


def _mixed(rows: NDArray[np.uint8], one: Places, other: Places, first: Weights, second: Weights) -> Weights:
    """(N, M) rows -> (n, M) int32: weighted sums of two rows each."""
    out = rows[one] * first[:, None]
    out += rows[other] * second[:, None]
    return out


@functools.lru_cache(maxsize=256)
def _weights(size: int, target: int) -> tuple[Places, Places, Weights, Weights]:
    """The two source positions of each target position, and their weights in 1/2048."""
    place = ((np.arange(target) + 0.5) * (size / target) - 0.5).astype(np.float32)
    low = np.floor(place).astype(np.int64)
    share = place - low.astype(np.float32)
    share[(low < 0) | (low >= size - 1)] = 0
    low = np.clip(low, 0, size - 1)
    second = np.rint(share * np.float32(2048)).astype(np.int32)
    first = np.rint((np.float32(1) - share) * np.float32(2048)).astype(np.int32)
    return low, np.minimum(low + 1, size - 1), first, second


def planes(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32, 0..255."""
    out = np.empty((1, 3, *pixels.shape[:2]), np.float32)
    for channel in range(3):
        out[0, channel] = pixels[:, :, channel]
    return out
