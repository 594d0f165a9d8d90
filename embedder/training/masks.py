"""Which patches of the student's global crops are hidden: blocks, as in iBOT.

Of 2B crops a share is masked, at ratios that cover a range evenly; a crop is covered block by block until its ratio is
reached. What a crop gets is a function of the seed, the step and its place in the batch of all processes.
Source: dinov2/data/masking.py and collate.py, as told in the facts of the paper (blocks as in BEiT, arXiv 2106.08254).

Letters: N crops, P patches = rows x columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedder.training.draws import stream, uniforms

_MASK = 31  # stream
LEAST, TRIES = 4, 10  # patches of a block; draws before a crop is left as it is


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """How much is hidden."""

    share: float = 0.5
    """Of the global crops: those that are masked at all."""
    ratio: tuple[float, float] = (0.1, 0.5)
    """Least and greatest share of a masked crop's patches."""

    def __post_init__(self) -> None:
        low, high = self.ratio
        if not 0 <= self.share <= 1 or not 0 < low <= high < 1:
            raise ValueError(f"masks: share is 0 to 1 and ratio rises between 0 and 1, not {self.share} and {self.ratio}")


def ratios(crops: int, cfg: MaskConfig, seed: int, step: int) -> np.ndarray:
    """(N,) share of each crop's patches to hide, 0 for most or some: one from each slice of the range, shuffled."""
    rng = np.random.default_rng((seed, step))
    masked = int(crops * cfg.share)
    edges = np.linspace(*cfg.ratio, masked + 1)
    drawn = rng.uniform(edges[:-1], edges[1:])
    return rng.permutation(np.concatenate([drawn, np.zeros(crops - masked)]))


def masks(crops: Sequence[int], of: int, grid: tuple[int, int], cfg: MaskConfig, seed: int, step: int) -> Tensor:
    """(N, P) bool. crops: the places of this process's crops among the `of` of all processes; grid: rows, columns."""
    place_N = np.asarray(crops, np.int64)
    wanted_N = (ratios(of, cfg, seed, step)[place_N] * grid[0] * grid[1]).astype(np.int64)
    mask_Nrc = np.zeros((len(place_N), *grid), bool)
    hidden_N, failed_N = np.zeros_like(wanted_N), np.zeros_like(wanted_N)
    for turn in count():
        at = np.flatnonzero((hidden_N < wanted_N) & (failed_N < TRIES))
        if not len(at):
            return torch.from_numpy(mask_Nrc.reshape(len(place_N), -1))
        most = np.minimum(wanted_N[at] - hidden_N[at], grid[0] * grid[1] // 2)
        block = _blocks(grid, most, uniforms(stream(seed, _MASK, step, turn), place_N[at], 4))
        new = (block & ~mask_Nrc[at]).sum(axis=(1, 2))
        good = (new > 0) & (new <= most)
        mask_Nrc[at[good]] |= block[good]
        hidden_N[at[good]] += new[good]
        failed_N[at] = np.where(good, 0, failed_N[at] + 1)
    raise AssertionError("the count has no end")


def _blocks(grid: tuple[int, int], most: NDArray[np.int64], u: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N, rows, columns): one block of each crop, of about LEAST to `most` patches; empty where it would not fit."""
    rows, columns = grid
    area, stretch = LEAST + (np.maximum(LEAST, most) - LEAST) * u[:, 0], np.exp(math.log(0.3) * (1 - 2 * u[:, 1]))
    height, width = np.rint(np.sqrt(area * stretch)), np.rint(np.sqrt(area / stretch))
    fits = (height > 0) & (height < rows) & (width > 0) & (width < columns)
    top, left = np.floor(u[:, 2] * (rows - height + 1)), np.floor(u[:, 3] * (columns - width + 1))
    r, c = np.arange(rows), np.arange(columns)
    inside_Nr = (r >= top[:, None]) & (r < (top + height)[:, None]) & fits[:, None]
    inside_Nc = (c >= left[:, None]) & (c < (left + width)[:, None])
    return inside_Nr[:, :, None] & inside_Nc[:, None, :]
