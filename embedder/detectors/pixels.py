"""Bilinear resizing as OpenCV does it with 8-bit images, bit for bit, so that a network sees what it was tested with.

No antialiasing, weights in 1/2048, sums cut to the bits that OpenCV's vector code keeps. Source: opencv,
modules/imgproc/src/resize.cpp (HResizeLinear, VResizeLinearVec_32s8u). OpenCV itself is not used: the packages that bring
it bring two builds that exclude each other.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Places, Weights = NDArray[np.int64], NDArray[np.int32]
BLOCK = 64  # rows worked on at a time: what they become stays in the processor's cache


def resize_bilinear(
    image: NDArray[np.uint8], width: int, height: int, paper: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 to (height, width, 3) uint8.

    paper: rows and columns of a black sheet, at least the image's, that the image lies on at the top left and that is
    resized with it; the blank part costs nothing.
    """
    tall, wide = paper or image.shape[:2]
    if (tall, wide) == image.shape[:2] == (height, width):
        return image
    down, across = _down(tall, height), _across(wide, width)
    if (tall, wide) != image.shape[:2]:
        down, across = _before(image.shape[0], down), _before(3 * image.shape[1], across)
        image = np.pad(image, ((0, tall > image.shape[0]), (0, wide > image.shape[1]), (0, 0)))  # one blank line for all
    out = np.zeros((height, width, 3), np.uint8)
    out[: len(down[0]), : len(across[0]) // 3] = _resized(np.ascontiguousarray(image), down, across)
    return out


def _before(size: int, places: tuple[Places, ...]) -> tuple[Places, ...]:
    """Without what is made only of blank lines, from `size` on."""
    used = int(np.searchsorted(places[0], size))
    return tuple(one[:used] for one in places)


def _resized(image: NDArray[np.uint8], down: tuple[Places, ...], across: tuple[Places, ...]) -> NDArray[np.uint8]:
    """The image by the places and weights of its rows, and of its values within a row."""
    source, (top, bottom, upper_weight, lower_weight) = image.reshape(len(image), -1), down
    out = np.empty((len(top), len(across[0])), np.uint8)
    step = max(8, min(BLOCK, BLOCK * len(top) // len(image)))
    for start in range(0, len(top), step):
        block = slice(start, start + step)
        first, last = top[start], bottom[block][-1]
        lines = _mixed_across(source[first : last + 1].astype(np.float32), *across)
        upper, lower = lines[top[block] - first], lines[bottom[block] - first]
        upper *= upper_weight[block]
        upper >>= 16
        lower *= lower_weight[block]
        lower >>= 16
        upper += lower
        upper += 2
        upper >>= 2
        out[block] = upper
    return out.reshape(len(top), len(across[0]) // 3, 3)


def _mixed_across(lines: NDArray[np.float32], left: Places, right: Places, first: Weights, second: Weights) -> Weights:
    """Rows (n, 3 W) to (n, 3 width) int32, in 1/128 levels. Sums stay below 2^24, so that floats hold them exactly."""
    out = lines.take(left, axis=1)
    out *= first
    other = lines.take(right, axis=1)
    other *= second
    out += other
    return out.astype(np.int32)


@functools.lru_cache(maxsize=64)
def _down(size: int, target: int) -> tuple[Places, ...]:
    """Of each target row: its two source rows, and their weights in 1/2048, as columns."""
    low, high, first, second = _places(size, target)
    return low, high, first[:, None], second[:, None]


@functools.lru_cache(maxsize=64)
def _across(size: int, target: int) -> tuple[Places, ...]:
    """Of each target value in a row of RGB pixels: its two source values, and their weights in 16/2048."""
    low, high, *weights = _places(size, target)
    left, right = ((place[:, None] * 3 + np.arange(3)).ravel() for place in (low, high))
    return (left, right, *(np.repeat(weight, 3).astype(np.float32) / np.float32(16) for weight in weights))


def _places(size: int, target: int) -> tuple[Places, ...]:
    """Of each target position: its two source positions, at the edges the same, and their weights in 1/2048."""
    place = ((np.arange(target) + 0.5) * (size / target) - 0.5).astype(np.float32)
    low = np.floor(place).astype(np.int64)
    share = place - low.astype(np.float32)
    first, second = (np.rint(one * np.float32(2048)).astype(np.int32) for one in (np.float32(1) - share, share))
    return np.clip(low, 0, size - 1), np.clip(low + 1, 0, size - 1), first, second


def planes(pixels: NDArray[np.uint8], scale: float = 1.0) -> NDArray[np.float32]:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32, times `scale`."""
    return np.multiply(np.ascontiguousarray(pixels.transpose(2, 0, 1))[None], np.float32(scale), dtype=np.float32)
