"""Do two pictures share a part, moved, turned, scaled or mirrored? Counted in keypoints that say so together.

Each pair of keypoints that look alike proposes one way to lay the pictures over each other; the proposal that most others
fall in with wins.
Source: Lowe (2004), section 7: nearest neighbours, a similarity transform per match, agreement in place, size and angle.

Letters: N pairs of pictures, K keypoints, M matches of a pair.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from curation.keypoints import Keypoints, mirrored

ALIKE = 0.80  # least product of two words
AHEAD = 0.96  # greatest ratio of the second nearest's product to the nearest's, in distance
MATCHES = 32  # of a pair, the most alike
NEAR = 7.0  # pixels between where a keypoint is and where it should be ...
GROWTH = 0.35  # ... and as much again per doubling in size
SIZES, ANGLES = 0.6, math.radians(25)  # differences in log2 of the size, and in angle, that are still the same


@torch.inference_mode()
def shared_points(x: Keypoints, y: Keypoints) -> Tensor:
    """(N,) keypoints of each pair of pictures that agree on one way to lay them over each other; mirrored ways too."""
    words_x, words_y = x.unit_words(), y.unit_words()
    plain = _agreeing(x, y, words_x @ words_y.transpose(1, 2), 1.0)
    return torch.maximum(plain, _agreeing(x, y, words_x @ mirrored(words_y).transpose(1, 2), -1.0))


def _agreeing(x: Keypoints, y: Keypoints, alike_NKK: Tensor, side: float) -> Tensor:
    """side: -1 mirrors x."""
    a, b, valid_NM = _matches(alike_NKK, x.valid_BK, y.valid_BK)
    from_NM4, to_NM4 = (k.place_BK4.gather(1, at[..., None].expand(-1, -1, 4)) for k, at in ((x, a), (y, b)))
    ax, ay, a_size, a_angle = from_NM4.unbind(2)
    bx, by, b_size, b_angle = to_NM4.unbind(2)
    ax, a_angle = ax * side, a_angle if side > 0 else math.pi - a_angle
    size, turn = b_size - a_size, b_angle - a_angle  # each match a proposal
    scale = 2**size
    cos, sin = (scale * turn.cos())[..., None], (scale * turn.sin())[..., None]
    dx, dy = ax[:, None] - ax[:, :, None], ay[:, None] - ay[:, :, None]  # from the proposer to the others, (N, M, M)
    off_x = bx[:, :, None] + cos * dx - sin * dy - bx[:, None]
    off_y = by[:, :, None] + sin * dx + cos * dy - by[:, None]
    near = (NEAR * 2 ** (GROWTH * b_size))[:, None] * scale.clamp(min=1).sqrt()[..., None]
    agree = off_x * off_x + off_y * off_y < near * near
    agree &= (size[:, :, None] - size[:, None]).abs() < SIZES
    agree &= (torch.remainder(turn[:, :, None] - turn[:, None] + math.pi, 2 * math.pi) - math.pi).abs() < ANGLES
    return (agree & valid_NM[:, None] & valid_NM[:, :, None]).sum(2).amax(1)


def _matches(alike_NKK: Tensor, a_valid_NK: Tensor, b_valid_NK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, M) keypoints of x, of y, and whether they match: each the other's nearest, and clearly so."""
    alike_NKK = alike_NKK.masked_fill(~(a_valid_NK[:, :, None] & b_valid_NK[:, None]), 0.0)
    values, nearest = alike_NKK.topk(2, dim=2)
    first, second, at = values[..., 0], values[..., 1], nearest[..., 0]
    mutual = alike_NKK.argmax(1).gather(1, at) == torch.arange(at.shape[1])
    clear = (2 - 2 * first).clamp(min=0) < AHEAD**2 * (2 - 2 * second)
    good = torch.where(mutual & clear & (first > ALIKE), first, 0.0)
    strength, a = good.topk(min(MATCHES, good.shape[1]), dim=1)
    return a, at.gather(1, a), strength > 0
