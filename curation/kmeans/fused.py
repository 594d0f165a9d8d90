"""Product and arg-max in one kernel: the (N, K) products of rows and centroids never reach the GPU's memory.

A program has a tile of rows, goes through all centroids tile by tile in bf16 with fp32 accumulation, and keeps the two
best of each row. These two are then multiplied in float32, so that rounding to bf16 decides only between third best and
better: rows whose two best lie closer than that to a third. Without Triton: plain torch, in blocks.

Letters: N rows, D dimensions, K centroids.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import torch
from torch import Tensor

ROWS, COLUMNS, DEPTH = 128, 128, 64  # of a tile: rows, centroids, dimensions of one step
BLOCK = 4096  # rows of one product of the fallback
CANDIDATES = 4  # of the fallback's bf16 products, that are multiplied again


def best(x_ND: Tensor, c_KD: Tensor, bias_K: Tensor) -> tuple[Tensor, Tensor]:
    """The place of the largest x . c + bias for each row, int64, and that score, float32. Ties go to the lower number.

    All float32 on one device. bf16 products where the device has them, scores always in float32.
    """
    if x_ND.is_cuda and has_triton() and torch.cuda.get_device_capability(x_ND.device) >= (8, 0):
        return _rescored(x_ND, c_KD, bias_K, _kernel_candidates(x_ND, c_KD, bias_K))
    if has_bf16(x_ND.device) and len(c_KD) > CANDIDATES:
        return _blocks(x_ND, c_KD, bias_K, bf16=True)
    return _blocks(x_ND, c_KD, bias_K, bf16=False)


@functools.cache
def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def has_bf16(device: torch.device) -> bool:
    """Whether products in bf16 are made by units of their own."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private: absent in other versions of torch
    return any(bool(getattr(torch.cpu, name, bool)()) for name in names)


def _blocks(x_ND: Tensor, c_KD: Tensor, bias_K: Tensor, *, bf16: bool) -> tuple[Tensor, Tensor]:
    """Plain torch."""
    labels, scores, half_KD = [], [], c_KD.bfloat16() if bf16 else c_KD
    for block in x_ND.split(BLOCK):
        if bf16:
            few = ((block.bfloat16() @ half_KD.T).float() + bias_K).topk(CANDIDATES, dim=1).indices
            label, score = _rescored(block, c_KD, bias_K, few)
        else:
            score, label = torch.addmm(bias_K, block, c_KD.T).max(dim=1)
        labels.append(label)
        scores.append(score)
    return torch.cat(labels), torch.cat(scores)


def _rescored(x_ND: Tensor, c_KD: Tensor, bias_K: Tensor, few_NC: Tensor) -> tuple[Tensor, Tensor]:
    """The best of a few candidates of each row, by float32 products."""
    few_NC = few_NC.sort(dim=1).values  # of equal scores the lower number's
    scores_NC = torch.stack([(x_ND * c_KD[c]).sum(1) + bias_K[c] for c in few_NC.unbind(1)], dim=1)
    score, place = scores_NC.max(dim=1)
    return few_NC.gather(1, place[:, None])[:, 0], score


def _kernel_candidates(x_ND: Tensor, c_KD: Tensor, bias_K: Tensor) -> Tensor:
    """(N, 2) places of the two best centroids of each row, by bf16 products."""
    n, dims = x_ND.shape
    few = torch.empty((n, 2), dtype=torch.int64, device=x_ND.device)
    half_x, half_c = x_ND.bfloat16().contiguous(), c_KD.bfloat16().contiguous()
    grid = (-(-n // ROWS),)
    _kernel()[grid](half_x, half_c, bias_K, few, n, len(c_KD), dims, ROWS=ROWS, COLUMNS=COLUMNS, DEPTH=DEPTH, num_warps=8)
    return few


@functools.cache
def _kernel() -> Any:
    """The Triton kernel, compiled at its first use: Triton is there only where a GPU build of torch is."""
    from curation.kmeans import fused_kernel

    return fused_kernel.two_best
