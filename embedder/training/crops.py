"""Crops of one image: where they lie, and their pixels, straight from the encoded bytes.

As torchvision's RandomResizedCrop on Pillow images (dinov2/data/augmentations.py): area uniform, aspect log-uniform, ten
tries, else the largest central part; bicubic with antialiasing. Differs: a large JPEG is decoded at the smallest DCT
scale that still gives every crop `headroom` times its side, and crops are not flipped here (augment.py does).

Letters: B images, C crops of an image, N = B x C, T tries, S side of a crop. Pixels are uint8.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from curation.decode import opened, pixels, upright
from embedder.training.draws import UInts, bits, numbers, stream

GLOBALS = 2  # crops of an image; DINOv2's losses are written for two
TRIES = 10
ASPECTS = (3 / 4, 4 / 3)
_PLACE = 11  # stream


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """Sizes of crops; defaults as DINOv2's (ssl_default_config.yaml)."""

    global_side: int = 224
    """Pixels of the two global crops: a multiple of the patch."""
    local_side: int = 96
    """Pixels of the local crops: 96 for patches of 16, 98 for patches of 14."""
    locals_: int = 8
    """Local crops of an image."""
    global_area: tuple[float, float] = (0.32, 1.0)
    """Share of the image that a global crop covers."""
    local_area: tuple[float, float] = (0.05, 0.32)
    """Share of the image that a local crop covers."""
    headroom: float = 2.0
    """A JPEG is decoded at an eighth, a quarter or half its size where every crop still has this many pixels a pixel."""

    def __post_init__(self) -> None:
        for name in ("global_side", "local_side"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} must be 1 or more, not {getattr(self, name)}")
        if self.locals_ < 0:
            raise ValueError(f"data.locals_ must be 0 or more, not {self.locals_}")
        for name in ("global_area", "local_area"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ValueError(f"data.{name} is a range within 0 and 1, not {getattr(self, name)}")
        if self.headroom < 1:
            raise ValueError(f"data.headroom must be 1 or more, not {self.headroom}")

    @property
    def sides(self) -> list[int]:
        """(C,) sides, global crops first."""
        return [self.global_side] * GLOBALS + [self.local_side] * self.locals_

    @property
    def image_bytes(self) -> int:
        """Bytes of all crops of one image."""
        return sum(3 * side * side for side in self.sides)


def boxes(
    height_B: NDArray[np.int64], width_B: NDArray[np.int64], cfg: CropConfig, seed: int, position_B: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(B, C, 4) top, left, height, width of the crops of images at positions of the order, global crops first."""
    count, images = len(cfg.sides), len(position_B)
    word_N = np.repeat(bits(stream(seed, _PLACE), position_B), count)
    crop_N = np.tile(np.arange(count), images)
    height_N, width_N = np.repeat(height_B, count), np.repeat(width_B, count)
    size_N2, tried = _central(height_N, width_N), 0
    unfit = np.arange(len(word_N))
    for tries in (TRIES,) if images == 1 else (1, TRIES - 1):  # most fit at once: of many images, only the others go on
        column = crop_N[unfit, None] * TRIES + np.arange(tried, tried + tries)
        room = height_N[unfit, None], width_N[unfit, None]
        found_N2, fits = _fitting(*room, word_N[unfit, None], column, cfg)
        size_N2[unfit[fits]] = found_N2[fits]
        unfit, tried = unfit[~fits], tried + tries
    where = [numbers(word_N, 2 * count * TRIES + crop_N + axis * count) for axis in (0, 1)]
    room_N2 = np.stack([height_N, width_N], 1) - size_N2
    place_N2 = np.floor(np.stack(where, 1) * (room_N2 + 1)).astype(np.int64)
    place_N2[unfit] = room_N2[unfit] // 2
    return np.concatenate([place_N2, size_N2], 1).reshape(images, count, 4)


def _fitting(
    height_N1: NDArray[np.int64], width_N1: NDArray[np.int64], word_N1: UInts, column_NT: NDArray[np.int64], cfg: CropConfig
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(N, 2) height and width of the first of some tries that fits into its image, and (N,) whether there was one."""
    area = np.array([cfg.global_area] * GLOBALS + [cfg.local_area] * cfg.locals_)[column_NT[:, 0] // TRIES]
    size_NT = numbers(word_N1, column_NT)
    target = height_N1 * width_N1 * (area[:, :1] + (area[:, 1:] - area[:, :1]) * size_NT)
    low, high = np.log(ASPECTS)
    aspect = np.exp(low + (high - low) * numbers(word_N1, column_NT + len(cfg.sides) * TRIES))
    wide, tall = np.rint(np.sqrt(target * aspect)), np.rint(np.sqrt(target / aspect))
    fits = (wide > 0) & (wide <= width_N1) & (tall > 0) & (tall <= height_N1)
    each, first = np.arange(len(fits)), fits.argmax(axis=1)
    return np.stack([tall[each, first], wide[each, first]], 1).astype(np.int64), fits.any(axis=1)


def _central(height_N: NDArray[np.int64], width_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N, 2) height and width of the largest part whose aspect is allowed."""
    tall = np.minimum(height_N, np.rint(width_N / ASPECTS[0]))
    wide = np.minimum(width_N, np.rint(height_N * ASPECTS[1]))
    return np.maximum(1, np.stack([tall, wide], 1)).astype(np.int64)


def cut(data: bytes, cfg: CropConfig, seed: int, position: int) -> Iterator[NDArray[np.uint8]]:
    """C crops, each (3, S, S) uint8, of encoded bytes. Raises curation.decode.Reject."""
    with opened(data, None) as image:
        height, width = upright(image)
        box_C4 = boxes(np.array([height]), np.array([width]), cfg, seed, np.array([position]))[0]
        rgb = pixels(image, _longest(height, width, box_C4, cfg))
    scale = np.array(rgb.shape[:2]) / (height, width)
    for box, side in zip(box_C4, cfg.sides, strict=True):
        yield resized(_inside(rgb, box, scale), side)


def _longest(height: int, width: int, box_C4: NDArray[np.int64], cfg: CropConfig) -> int:
    """What decode.pixels, which keeps both edges at twice this or more, has to be asked for."""
    needed = cfg.headroom * (np.array(cfg.sides)[:, None] / box_C4[:, 2:]).max()
    return max(1, math.ceil(needed * min(height, width) / 2))


def _inside(rgb: NDArray[np.uint8], box: NDArray[np.int64], scale: NDArray[np.float64]) -> NDArray[np.uint8]:
    top, left, tall, wide = np.rint(box * np.tile(scale, 2)).astype(int)
    top, left = min(top, rgb.shape[0] - 1), min(left, rgb.shape[1] - 1)
    return rgb[top : top + max(1, tall), left : left + max(1, wide)]


def resized(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """(H, W, 3) to (3, side, side): bicubic with antialiasing, Pillow's but for a grey level here and there, at worst 12."""
    whole = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    out = interpolate(whole, size=(side, side), mode="bicubic", antialias=True)
    return out[0].numpy()  # as torch leaves it: to put channels last takes as long again as a third of the resizing
