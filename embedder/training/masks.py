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

import numpy as np
import torch
from torch import Tensor

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
    wanted = ratios(of, cfg, seed, step)
    drawn = [_blocks(grid, int(wanted[at] * grid[0] * grid[1]), np.random.default_rng((seed, step, at))) for at in crops]
    return (
        torch.from_numpy(np.stack(drawn).reshape(len(drawn), -1))
        if drawn
        else torch.zeros(0, grid[0] * grid[1], dtype=torch.bool)
    )


def _blocks(grid: tuple[int, int], wanted: int, rng: np.random.Generator) -> np.ndarray:
    """(rows, columns) bool with at most `wanted` patches hidden."""
    mask, hidden = np.zeros(grid, bool), 0
    while hidden < wanted:
        block = _block(mask, min(wanted - hidden, grid[0] * grid[1] // 2), rng)
        if block is None:
            break
        mask[block] = True
        hidden = int(mask.sum())
    return mask


def _block(mask: np.ndarray, most: int, rng: np.random.Generator) -> tuple[slice, slice] | None:
    """A block that hides between 1 and `most` more patches, or None if none was drawn."""
    for _ in range(TRIES):
        area, stretch = rng.uniform(LEAST, max(LEAST, most)), math.exp(rng.uniform(math.log(0.3), -math.log(0.3)))
        height, width = round(math.sqrt(area * stretch)), round(math.sqrt(area / stretch))
        if not (0 < height < mask.shape[0] and 0 < width < mask.shape[1]):
            continue
        top, left = (int(rng.integers(0, room + 1)) for room in (mask.shape[0] - height, mask.shape[1] - width))
        block = slice(top, top + height), slice(left, left + width)
        if 0 < (~mask[block]).sum() <= most:
            return block
    return None
