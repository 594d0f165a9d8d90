"""Do two pictures agree once they are laid over each other? The second opinion on a pair of alleged copies.

A copy network says what is alike; in a narrow domain (pages of text, night skylines) unlike pictures are alike too. A
copy, however, lies on its original: mirrored or not, turned a little, cropped or framed, shifted. Both thumbnails are
reduced to local contrast, one is tried in some sixty poses, and for each pose every shift is scored at once by Fourier
transforms. The score is the normalised correlation over the overlap, at its best.
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

from curation.decode import Reject, decode_grey
from curation.smooth import smooth

SIDE = 32  # pixels of a thumbnail; 64 told pairs apart no better at four times the work
REACH = 4  # pixels of shift either way
PADDED = SIDE + 2 * REACH
TURNS = (-8, -5, -2.5, 2.5, 5, 8)  # degrees
ASPECTS = (0.75, 1.0, 1.35)  # height over width of the picture that was turned: a turn of a squashed picture shears it
ZOOMS = (0.80, 0.84, 0.87, 0.90, 0.93, 0.96, 1.04, 1.08, 1.12, 1.16, 1.20, 1.25)  # linear; < 1 shows more, > 1 less
FRAME = 2  # pixels at the rim that are not looked at: frames, corners of turned pictures
LEAST_OVERLAP = 0.5  # of the thumbnail's area
BATCH = 32  # pairs scored at once
BEST = 0.9  # agreement of copies that their descriptors alone would not tie, at its best in practice

# B pairs, T poses, S = SIDE, R = 2 REACH + 1 shifts either way, F frequencies


@dataclass(frozen=True)
class _Poses:
    """Sampling grids (T, S, S, 2), what each leaves of a picture, and its overlap with the other at every shift."""

    grids: Tensor
    seen_F: Tensor  # (T, F, F) complex
    whole_F: Tensor  # (F, F) complex
    enough: Tensor  # (T, R, R) bool


def least_cosine(confirm: float) -> float:
    """The cosine below which no agreement lifts a pair to `confirm`."""
    return round(confirm - BEST, 6)


def local_contrast(grey: NDArray[np.uint8]) -> Tensor:
    """(N, H, W) uint8 grey to (N, S, S) float: what stands out from its surroundings, in units of their spread."""
    pixels = torch.from_numpy(grey.astype(np.float32))[:, None]
    pixels = smooth(functional.interpolate(pixels, size=(SIDE, SIDE), mode="area"), 0.4)
    detail = pixels - smooth(pixels, 2.5)
    return (detail / (smooth(detail * detail, 3.0).sqrt() + 4))[:, 0]


def look(pictures: Sequence[bytes | None]) -> Tensor:
    """The local contrast of encoded pictures, (N, S, S); of one that cannot be read none, so that it agrees with no other."""
    grey = [_grey(data) for data in pictures]
    return local_contrast(np.stack(grey)) if grey else torch.zeros(0, SIDE, SIDE)


def _grey(data: bytes | None) -> NDArray[np.uint8]:
    try:
        return decode_grey(data or b"", 2 * SIDE)
    except Reject:
        return np.zeros((2 * SIDE, 2 * SIDE), np.uint8)


def agreement(x: Tensor, y: Tensor) -> NDArray[np.float32]:
    """(N,) best correlation of each pair of thumbnails x, y (N, S, S) from `local_contrast`, -1 to 1."""
    scores = [_score(x[at : at + BATCH], y[at : at + BATCH]) for at in range(0, len(x), BATCH)]
    return torch.cat([torch.zeros(0), *scores]).numpy().astype(np.float32)


@torch.inference_mode()
def _score(x_BSS: Tensor, y_BSS: Tensor) -> Tensor:
    poses = _poses()
    count = len(poses.grids)
    posed = functional.grid_sample(x_BSS.expand(count, -1, -1, -1), poses.grids, align_corners=False)  # (T, B, S, S)
    y_BSS = y_BSS * _rim()
    cross = _shifts(_fft(posed).conj() * _fft(y_BSS))
    energy_x = _shifts(_fft(posed * posed).conj() * poses.whole_F)
    energy_y = _shifts(poses.seen_F[:, None].conj() * _fft(y_BSS * y_BSS))
    correlation = cross / (energy_x.clamp_min(1e-3) * energy_y.clamp_min(1e-3)).sqrt()
    return torch.where(poses.enough[:, None], correlation, -1.0).amax((0, 2, 3))


@functools.cache
def _poses() -> _Poses:
    plain = [(1 / zoom, 0.0, 0.0, 1 / zoom) for zoom in (1.0, *ZOOMS)]
    turned = [(math.cos(a), -math.sin(a) * ratio, math.sin(a) / ratio, math.cos(a))
              for a in map(math.radians, TURNS) for ratio in ASPECTS]  # fmt: skip
    rows = [(side * a, b, side * c, d) for a, b, c, d in (*plain, *turned) for side in (1, -1)]
    affine = torch.tensor([[[a, b, 0.0], [c, d, 0.0]] for a, b, c, d in rows])
    grids = functional.affine_grid(affine, [len(rows), 1, SIDE, SIDE], align_corners=False)
    seen = _fft(functional.grid_sample(torch.ones(len(rows), 1, SIDE, SIDE), grids, align_corners=False)[:, 0])
    whole = _fft(_rim())
    enough = _shifts(seen.conj() * whole) >= LEAST_OVERLAP * SIDE**2
    return _Poses(grids, seen, whole, enough)


def _rim() -> Tensor:
    """(S, S) ones without the outer FRAME pixels."""
    inside = torch.zeros(SIDE, SIDE)
    inside[FRAME:-FRAME, FRAME:-FRAME] = 1
    return inside


def _fft(pixels: Tensor) -> Tensor:
    return torch.fft.rfft2(pixels, s=(PADDED, PADDED))


def _shifts(product_F: Tensor) -> Tensor:
    """Correlations at shifts of -REACH to REACH, (..., R, R)."""
    plane = torch.fft.irfft2(product_F, s=(PADDED, PADDED))
    return torch.roll(plane, (REACH, REACH), (-2, -1))[..., : 2 * REACH + 1, : 2 * REACH + 1]
