"""Keypoints of pictures: where something stands out, at which size, turned how, and what is around it.

Blobs of a scale space, an orientation from the gradients around each, and 4 x 4 histograms of 8 gradient directions.
Source: Lowe, Distinctive Image Features from Scale-Invariant Keypoints (2004), sections 3 to 6; square roots as in
Arandjelovic and Zisserman, Three Things Everyone Should Know to Improve Object Retrieval (2012). Differs: batched on
tensors, places are not refined below a pixel, and windows read the nearest pixels.

Letters: B pictures, S pixels of a side, K keypoints of a picture, N keypoints of all, L levels of an octave, P points of
a window, D values of a word.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from curation.decode import Reject, decode_grey_whole
from curation.smooth import smooth

SIDE = 160  # pixels of the square that a picture lies on
MOST = 64  # keypoints of a picture
OCTAVES, LEVELS = 4, 3  # octaves, and levels of each in which blobs are looked for
SIGMA, BEFORE = 1.6, 0.5  # of an octave's first level, and what a picture is taken to have; pixels
CONTRAST = 0.004  # least difference of two levels, of full brightness
EDGE = 10.0  # greatest ratio of the two curvatures: along an edge a point has no place
RIM = 5  # pixels of an octave's rim without blobs
TURN_REACH, TURN_POINTS, TURN_BINS = 3.0, 13, 36  # window an orientation is read from: reach in sigma, points a side
WORD_REACH, WORD_POINTS, CELLS, BINS = 6.0, 16, 4, 8
WIDTH = CELLS * CELLS * BINS
STEPS = 512  # of a word's values, whose largest is below a half
BATCH = 32  # pictures at once
CAP = 0.2  # of a word's length in one value: strong edges do not decide alone


@dataclass(frozen=True)
class Keypoints:
    """Of B pictures, strongest first: place_BK4 (x, y in pixels, log2 of the size, angle) and uint8 words_BKD.

    Nine kilobytes a picture; `unit_words` gives the words as they are compared.
    """

    place_BK4: Tensor
    words_BKD: Tensor
    valid_BK: Tensor

    def take(self, rows: Tensor) -> Keypoints:
        """The keypoints of some of the pictures."""
        return Keypoints(self.place_BK4[rows], self.words_BKD[rows], self.valid_BK[rows])

    def unit_words(self) -> Tensor:
        """The words as unit rows, (B, K, D) float32."""
        return functional.normalize(self.words_BKD.float(), dim=2)

    @staticmethod
    def join(some: Sequence[Keypoints]) -> Keypoints:
        """Those of several batches as one."""
        return Keypoints(
            *(torch.cat(parts) for parts in zip(*((k.place_BK4, k.words_BKD, k.valid_BK) for k in some), strict=True))
        )


def mirrored(words_BKD: Tensor) -> Tensor:
    """The words as the mirror images of the pictures have them."""
    return words_BKD[..., _mirror_order()]


def lay_out(data: bytes | None) -> NDArray[np.uint8]:
    """(SIDE, SIDE) grey: the picture with its longer edge at SIDE, its last row and column repeated over the rest.

    All black for bytes that are no picture.
    """
    try:
        grey = decode_grey_whole(data or b"", SIDE)
    except Reject:
        return np.zeros((SIDE, SIDE), np.uint8)
    return np.pad(grey, [(0, SIDE - edge) for edge in grey.shape], mode="edge")


def look(pictures: Sequence[bytes | None]) -> Keypoints:
    """The keypoints of encoded pictures."""
    words, valid = torch.zeros(0, MOST, WIDTH, dtype=torch.uint8), torch.zeros(0, MOST, dtype=torch.bool)
    found = [Keypoints(torch.zeros(0, MOST, 4), words, valid)]
    for at in range(0, len(pictures), BATCH):
        grey = np.stack([lay_out(data) for data in pictures[at : at + BATCH]])
        found.append(find_keypoints(torch.from_numpy(grey).float() / 255))
    return Keypoints.join(found)


@torch.inference_mode()
def find_keypoints(grey_BSS: Tensor, most: int = MOST) -> Keypoints:
    """grey_BSS: float in [0, 1]; S a multiple of 8."""
    space = _scale_space(grey_BSS)
    blob_N5, valid_BK = _strongest([_blobs(levels) for levels in space], most)
    angle_N, word_ND = _describe(space, blob_N5)
    place_BK4, words_BKD = torch.zeros(*valid_BK.shape, 4), torch.zeros(*valid_BK.shape, WIDTH, dtype=torch.uint8)
    octave, level, y, x = blob_N5[:, 1:5].unbind(1)
    place_BK4[valid_BK] = torch.stack([x * 2**octave, y * 2**octave, octave + level / LEVELS, angle_N], dim=1).float()
    words_BKD[valid_BK] = (word_ND * STEPS).round().clamp(max=255).byte()
    return Keypoints(place_BK4, words_BKD, valid_BK)


def _scale_space(grey_BSS: Tensor) -> list[Tensor]:
    """(B, L + 3, S, S) per octave, each half as large as the one before."""
    step, octaves = 2 ** (1 / LEVELS), list[Tensor]()
    first = smooth(grey_BSS[:, None], math.sqrt(SIGMA**2 - BEFORE**2))
    for _ in range(OCTAVES):
        levels = [first]
        for number in range(LEVELS + 2):
            levels.append(smooth(levels[-1], SIGMA * step**number * math.sqrt(step**2 - 1)))
        octaves.append(torch.cat(levels, dim=1))
        first = levels[LEVELS][:, :, ::2, ::2]
    return octaves


def _blobs(levels_BLSS: Tensor) -> Tensor:
    """(B, L, S, S) how strong the extremum of differences of levels at each place is; 0 where there is none."""
    dog = levels_BLSS[:, 1:] - levels_BLSS[:, :-1]
    size = dog.abs()
    peak = (size == _greatest_around(size)) & (size > CONTRAST)
    peak[:, [0, -1]] = False
    for axis in (2, 3):
        peak.narrow(axis, 0, RIM).fill_(False)
        peak.narrow(axis, dog.shape[axis] - RIM, RIM).fill_(False)
    at = peak.nonzero()
    strength = torch.zeros_like(size)
    keep = at[~_on_edge(dog, at)]
    strength[tuple(keep.T)] = size[tuple(keep.T)]
    return strength


def _greatest_around(x_BLSS: Tensor) -> Tensor:
    """The greatest of the 27 values around each; axis by axis, which is ten times as fast as max_pool3d."""
    for axis in (3, 2, 1):
        n = x_BLSS.shape[axis] - 1
        greatest = x_BLSS.clone()
        torch.maximum(greatest.narrow(axis, 0, n), x_BLSS.narrow(axis, 1, n), out=greatest.narrow(axis, 0, n))
        torch.maximum(greatest.narrow(axis, 1, n), x_BLSS.narrow(axis, 0, n), out=greatest.narrow(axis, 1, n))
        x_BLSS = greatest
    return x_BLSS


def _on_edge(dog: Tensor, at_N4: Tensor) -> Tensor:
    """(N,) whether one curvature is more than EDGE times the other (Lowe, section 4.1)."""
    b, level, y, x = at_N4.unbind(1)

    def near(dy: int, dx: int) -> Tensor:
        return dog[b, level, y + dy, x + dx]

    middle = near(0, 0)
    xx, yy = near(0, -1) + near(0, 1) - 2 * middle, near(-1, 0) + near(1, 0) - 2 * middle
    xy = (near(1, 1) + near(-1, -1) - near(1, -1) - near(-1, 1)) / 4
    trace, determinant = xx + yy, xx * yy - xy * xy
    return (determinant <= 0) | (trace * trace * EDGE > (EDGE + 1) ** 2 * determinant)


def _strongest(strengths: list[Tensor], most: int) -> tuple[Tensor, Tensor]:
    """Picture, octave, level, y, x of the strongest blobs (N, 5), picture by picture, and which of (B, K) there are."""
    best, at = torch.cat([s.flatten(1) for s in strengths], dim=1).topk(most, dim=1)
    valid_BK = best > 0
    picture, flat = valid_BK.nonzero()[:, 0], at[valid_BK]
    bounds = torch.tensor([0, *(s[0].numel() for s in strengths)]).cumsum(0)
    octave = torch.searchsorted(bounds, flat, right=True) - 1
    inside, side = flat - bounds[octave], torch.tensor([s.shape[-1] for s in strengths])[octave]
    return torch.stack([picture, octave, inside // side**2, inside // side % side, inside % side], dim=1), valid_BK


def _describe(space: list[Tensor], blob_N5: Tensor) -> tuple[Tensor, Tensor]:
    """Angles (N,) and words (N, D) of blobs, from the brightness around them."""
    sides = torch.tensor([levels.shape[-1] for levels in space])
    starts = torch.tensor([0, *(levels.numel() for levels in space)]).cumsum(0)
    flat = torch.cat([levels.flatten() for levels in space])
    picture, octave, level, y, x = blob_N5.unbind(1)
    base = starts[octave] + (picture * space[0].shape[1] + level) * sides[octave] ** 2
    sigma = SIGMA * 2 ** (level / LEVELS)
    where = (base, sides[octave], y, x)
    angle_N = _orientation(_window(flat, where, TURN_REACH * sigma, torch.zeros_like(sigma), TURN_POINTS))
    gx, gy = _window(flat, where, WORD_REACH * sigma, angle_N, WORD_POINTS)
    cos, sin = angle_N.cos()[:, None], angle_N.sin()[:, None]
    return angle_N, _histograms(gx * cos + gy * sin, gy * cos - gx * sin)


def _window(flat: Tensor, where: tuple[Tensor, ...], reach_N: Tensor, angle_N: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """(N, P) slopes along x and y at the pixels nearest to a turned grid of `reach` to each side of every blob."""
    base, side, y, x = (w[:, None] for w in where)
    line = torch.linspace(-1, 1, points)
    v, u = (axis.reshape(-1) for axis in torch.meshgrid(line, line, indexing="ij"))
    cos, sin = (f(angle_N)[:, None] * reach_N[:, None] for f in (torch.cos, torch.sin))
    px, py = (x + u * cos - v * sin).round().long(), (y + u * sin + v * cos).round().long()
    inside = (px > 0) & (px < side - 1) & (py > 0) & (py < side - 1)
    at = torch.where(inside, base + py * side + px, base + side + 1)
    step = side.expand_as(at)
    return (flat[at + 1] - flat[at - 1]) * inside, (flat[at + step] - flat[at - step]) * inside


def _orientation(slopes: tuple[Tensor, Tensor]) -> Tensor:
    """(N,) the commonest direction, weighted by steepness and nearness."""
    gx, gy = slopes
    weight = (gx * gx + gy * gy).sqrt() * _bell(TURN_POINTS)
    turn = torch.atan2(gy, gx) * (TURN_BINS / (2 * math.pi)) % TURN_BINS
    low = turn.floor()
    votes = torch.zeros(len(gx), TURN_BINS)
    votes.scatter_add_(1, low.long() % TURN_BINS, weight * (1 - turn + low))
    votes.scatter_add_(1, (low.long() + 1) % TURN_BINS, weight * (turn - low))
    votes = (votes.roll(1, 1) + votes + votes.roll(-1, 1)) / 3
    top = votes.argmax(1, keepdim=True)
    left, middle, right = (votes.gather(1, (top + d) % TURN_BINS) for d in (-1, 0, 1))
    shift = (left - right) / (2 * (left + right - 2 * middle)).clamp(max=-1e-12)
    return ((top + shift) * (2 * math.pi / TURN_BINS))[:, 0]


def _histograms(gx_NP: Tensor, gy_NP: Tensor) -> Tensor:
    """(N, D): steepness per cell and direction, capped, square-rooted, unit rows."""
    steep = (gx_NP * gx_NP + gy_NP * gy_NP).sqrt() * _bell(WORD_POINTS)
    turn = torch.atan2(gy_NP, gx_NP) * (BINS / (2 * math.pi)) % BINS
    low = turn.floor()
    share = torch.zeros(*turn.shape, BINS)
    share.scatter_(2, (low.long() % BINS)[..., None], (steep * (1 - turn + low))[..., None])
    share.scatter_add_(2, ((low.long() + 1) % BINS)[..., None], (steep * (turn - low))[..., None])
    cells = (_cells().T @ share).flatten(1)  # (N, CELLS^2, BINS)
    capped = functional.normalize(cells, dim=1).clamp(max=CAP)
    return functional.normalize(capped, p=1, dim=1).sqrt()


@functools.cache
def _bell(points: int) -> Tensor:
    line = torch.linspace(-2, 2, points)
    return torch.exp(-(line[:, None] ** 2 + line**2) / 2).reshape(-1)


@functools.cache
def _cells() -> Tensor:
    """(P, CELLS^2) how much each point of a window counts in each cell."""
    line = torch.linspace(-0.5, CELLS - 0.5, WORD_POINTS)
    share = (1 - (line[:, None] - torch.arange(CELLS)).abs()).clamp(min=0)
    return torch.einsum("yc,xd->yxcd", share, share).reshape(WORD_POINTS**2, CELLS**2)


@functools.cache
def _mirror_order() -> Tensor:
    """Where each value of a word stands in the word of the mirror image: rows of cells and turning are reversed."""
    values = torch.arange(WIDTH).view(CELLS, CELLS, BINS)
    return values.flip(0)[..., -torch.arange(BINS) % BINS].reshape(-1)
