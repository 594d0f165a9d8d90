"""Sketches of rows and centroids: a short product that says which centroids could be the nearest of a row.

Of two vectors, what lies off the first R axes adds at most the product of the two remainders' lengths (Cauchy-Schwarz).
So does what rounding to bfloat16 takes off: x . c <= x' . c' + |x'| |c - c'| + |x - x'| |c|. Both are columns of the sketches,
and so is the score of the centroid that a row is thought to have: the sketches' product is at least the amount by which
a row prefers a centroid to that one. Where a CPU multiplies bfloat16, sketches are of that; the few numbers that rounding
would spoil are split over several columns.

Letters: N rows, B rows of a block, D dimensions, K centroids, R axes, S numbers of a sketch.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROUNDING = 1e-5  # of a score, in units of |x| max |c|: more than float32 products of this length are off by
SPLIT = 3e-5  # the same of sketches in bfloat16, with what splitting leaves
REMAINDER = 1e-6  # squared, of |x|: more than lengths are off by
UP = 1 + 2**-8  # times a number, then rounded to bfloat16, is no less than the number

Floats = NDArray[np.float32]
Short = tuple[Tensor, Floats]


@dataclass(frozen=True)
class Targets:
    """Centroids ready to be asked: centroids_KD and bias_K."""

    centroids_KD: Tensor
    bias_K: Tensor

    @functools.cached_property
    def longest(self) -> float:
        """Length of the longest centroid."""
        return float(self.centroids_KD.norm(dim=1).max())

    @functools.cached_property
    def heaviest(self) -> float:
        """Largest bias, without its sign."""
        return float(self.bias_K.abs().max())

    @staticmethod
    def of(centroids: Floats, *, euclidean: bool = False) -> Targets:
        c = torch.from_numpy(np.ascontiguousarray(centroids, np.float32))
        return Targets(c, -(c.double() ** 2).sum(1).float() / 2 if euclidean else torch.zeros(len(c)))


@dataclass(frozen=True)
class Sketch:
    """The few axes (D, R) along which rows are compared first, and whether in bfloat16."""

    axes_DR: Tensor
    half: bool = False

    @property
    def slack(self) -> float:
        return SPLIT if self.half else ROUNDING


def bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16."""
    return torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]


def principal(c_KD: Tensor) -> Tensor:
    """Directions (D, D) in which the centroids differ from zero, those of most spread first."""
    return torch.linalg.eigh((c_KD.T @ c_KD).double()).eigenvectors.flip(1).float().contiguous()


def shortened(x: Floats, sketch: Sketch) -> Short:
    """(B, S'): rows along the axes, and no less than the lengths of what is left of them; (B,) their own lengths."""
    along_BR, rest_B, length_B = _along(x, sketch)
    if not sketch.half:
        return torch.cat([along_BR, rest_B[:, None]], dim=1), length_B
    rounded_BR, off_B = _rounded(along_BR)
    bounds = torch.stack([off_B, rounded_BR.float().norm(dim=1)], dim=1) * UP
    high, low = _split(rest_B, 2)
    return torch.cat([rounded_BR, high, low, high, bounds.bfloat16()], dim=1), length_B


def short_centroids(targets: Targets, sketch: Sketch) -> Tensor:
    """(K, S): the centroids' sketches, their bias, and the ones that a row's own score is taken from."""
    along_KR, rest_K, _ = _along(targets.centroids_KD.numpy(), sketch)
    count, bias_K = len(along_KR), targets.bias_K
    if not sketch.half:
        return torch.cat([along_KR, rest_K[:, None], bias_K[:, None], torch.ones(count, 1)], dim=1)
    rounded_KR, off_K = _rounded(along_KR)
    bounds = torch.stack([along_KR.norm(dim=1), off_K], dim=1) * UP
    high, low = _split(rest_K, 2)
    ones = torch.ones(count, 3, dtype=torch.bfloat16)
    return torch.cat([rounded_KR, high, high, low, bounds.bfloat16(), *_split(bias_K, 3), ones], dim=1)


def against(short: Short, own: Floats, targets: Targets, sketch: Sketch) -> Tensor:
    """(B, S): their product with `short_centroids` is by how much, at most, a row could prefer a centroid.

    own (B,): scores of the rows with the centroids they are thought to have.
    """
    short_BS, lengths = short
    slack = sketch.slack * (lengths * targets.longest + targets.heaviest)
    start_B = torch.from_numpy(slack.astype(np.float32) - own)
    if not sketch.half:
        return torch.cat([short_BS, torch.ones(len(own), 1), start_B[:, None]], dim=1)
    return torch.cat([short_BS, torch.ones(len(own), 3, dtype=torch.bfloat16), *_split(start_B, 3)], dim=1)


def _along(x: Floats, sketch: Sketch) -> tuple[Tensor, Tensor, Floats]:
    """(B, R) rows along the axes, (B,) no less than the length of what is left of them, (B,) their lengths."""
    along_BR = torch.from_numpy(x) @ sketch.axes_DR
    squared_B, short_B = np.einsum("bd,bd->b", x, x), np.einsum("br,br->b", along_BR.numpy(), along_BR.numpy())
    rest_B = np.sqrt(np.maximum(squared_B - short_B, 0) + REMAINDER * squared_B)
    return along_BR, torch.from_numpy(rest_B), np.sqrt(squared_B)


def _rounded(v_BR: Tensor) -> tuple[Tensor, Tensor]:
    """In bfloat16, and (B,) the lengths of what that takes off."""
    rounded_BR = v_BR.bfloat16()
    return rounded_BR, (v_BR - rounded_BR.float()).norm(dim=1)


def _split(v_B: Tensor, count: int) -> list[Tensor]:
    """Columns (B, 1) of bfloat16 whose sum is v but for 2^-9 ** count of it."""
    columns, left = list[Tensor](), v_B
    for _ in range(count):
        columns.append(left.bfloat16()[:, None])
        left = left - columns[-1][:, 0].float()
    return columns
