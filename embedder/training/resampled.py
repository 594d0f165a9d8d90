"""Crops of many pictures at once, as products with matrices: cut and resized as crops.resized does, for any device.

A row of such a matrix holds the weights that one pixel of a crop gives to the pixels of an edge of its picture: Keys's
cubic with a = -0.5, widened where a crop is made smaller, cut off at the crop's box and made to add up to 1; Pillow's
(libImaging/Resample.c). On CUDA the products are of fp16 with fp32 sums: within a grey level or two of the CPU's crops.

Letters: B pictures, C crops of each, E edge of a picture, S side of a crop.
"""

from __future__ import annotations

import torch
from torch import Tensor

REACH = 2.0  # pixels of a crop to each side
MOST = {"cpu": 1 << 19}  # weights of one edge at once: what a cache holds
MOST_ELSEWHERE = 1 << 26


def cut_all(pictures_BE3E: Tensor, boxes_BC4: Tensor, side: int) -> Tensor:
    """(C, B, 3, S, S) uint8 of (B, E, 3, E) uint8 pictures, rows first; boxes: top, left, height, width in their pixels."""
    B, C = boxes_BC4.shape[:2]
    most = MOST.get(pictures_BE3E.device.type, MOST_ELSEWHERE)
    step = max(1, most // (max(1, C) * side * pictures_BE3E.shape[1]))
    out = torch.empty(C, B, 3, side, side, dtype=torch.uint8, device=pictures_BE3E.device)
    for start in range(0, B, step):
        here = slice(start, start + step)
        out[:, here] = _cut(pictures_BE3E[here], boxes_BC4[here], side)
    return out


def _cut(pictures_BE3E: Tensor, boxes_BC4: Tensor, side: int) -> Tensor:
    (B, C), edge = boxes_BC4.shape[:2], pictures_BE3E.shape[1]
    kind = torch.float16 if pictures_BE3E.is_cuda else torch.float32
    top, left, tall, wide = boxes_BC4.unbind(-1)
    pixels = pictures_BE3E.to(kind).flatten(2)
    rows = weights(top, tall, side, edge).to(kind).view(B, C * side, edge)
    columns = weights(left, wide, side, edge).to(kind).view(B * C, side, edge)
    short = torch.bmm(rows, pixels).view(B * C, side * 3, edge)
    small = torch.bmm(short, columns.mT).view(B, C, side, 3, side)
    return small.clamp_(0, 255).round_().to(torch.uint8).permute(1, 0, 3, 2, 4)


def weights(start_BC: Tensor, length_BC: Tensor, side: int, edge: int) -> Tensor:
    """(B, C, S, E) float32 weights of an edge's pixels in those of a crop of it."""
    start, length = start_BC[..., None, None], length_BC[..., None, None]
    pixel = torch.arange(edge, device=start.device)
    scale = length / side
    centre = start + scale * (torch.arange(side, device=start.device)[:, None] + 0.5)
    weight = _cubic((pixel + 0.5 - centre) / scale.clamp(min=1.0))
    weight = weight * ((pixel + 1 > start) & (pixel < start + length))
    return weight / weight.sum(-1, keepdim=True)


def _cubic(x: Tensor) -> Tensor:
    """Keys, "Cubic convolution interpolation for digital image processing" (1981), a = -0.5."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < REACH, far, 0.0))
