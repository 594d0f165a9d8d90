"""Product and arg-max in one kernel: the (N, K) products of rows and centroids never reach the GPU's memory.

Tiles of rows meet tiles of centroids in bf16 with fp32 accumulation, and of each meeting a row's best is kept. The two best
of all tiles are multiplied again in float32, so that rounding to bf16 decides only where the best lies below two others, or
below another of its tile, by less than that. Needs Triton and a GPU with tensor descriptors (Hopper); else plain torch, in
blocks.

Letters: N rows, D dimensions, K centroids.
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

ALIGNED = 8  # bf16 numbers in the 16 bytes that a row of a tensor descriptor has to be a multiple of
PART = 1 << 18  # rows whose tiles' bests are in memory at once
BLOCK = 4096  # rows of one product of the fallback
CANDIDATES = 4  # of the fallback's bf16 products, that are multiplied again


def best(x_ND: Tensor, c_KD: Tensor, bias_K: Tensor) -> tuple[Tensor, Tensor]:
    """The place of the largest x . c + bias for each row, int64, and that score, float32. Ties go to the lower number.

    All float32 on one device. bf16 products where the device has them, scores always in float32.
    """
    if x_ND.is_cuda and has_triton() and torch.cuda.get_device_capability(x_ND.device) >= (9, 0):
        return by_kernel(x_ND, c_KD, bias_K)
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


@dataclass(frozen=True)
class Tiling:
    """How the kernel goes through a product. persistent: a program for each multiprocessor, not for each tile."""

    rows: int = 128
    columns: int = 256
    depth: int = 64
    group: int = 8
    stages: int = 3
    warps: int = 8
    persistent: bool = True


def by_kernel(x_ND: Tensor, c_KD: Tensor, bias_K: Tensor, tiling: Tiling = Tiling()) -> tuple[Tensor, Tensor]:
    """`best` by the Triton kernels, PART rows at a time."""
    half_KD = _half(c_KD)
    label_N, score_N = (torch.empty(len(x_ND), dtype=kind, device=x_ND.device) for kind in (torch.int64, torch.float32))
    for start in range(0, len(x_ND), PART):
        part, here = x_ND[start : start + PART].contiguous(), slice(start, start + PART)
        _best_of_part(part, c_KD, half_KD, bias_K, label_N[here], score_N[here], tiling)
    return label_N, score_N


def _best_of_part(
    x_ND: Tensor, c_KD: Tensor, half_KD: Tensor, bias_K: Tensor, label_N: Tensor, score_N: Tensor, how: Tiling
) -> None:
    kernels, (n, dims), k = _kernels(), x_ND.shape, len(c_KD)
    tiles = -(-k // how.columns)
    keys_TN = torch.empty(tiles, n, dtype=torch.int32, device=x_ND.device)
    two_2N = torch.empty(2, n, dtype=torch.int32, device=x_ND.device)
    x_tiles, c_tiles = _tiles(_half(x_ND), how.rows, how.depth), _tiles(half_KD, how.columns, how.depth)
    programs = tiles * -(-n // how.rows)
    if how.persistent:
        programs = min(programs, torch.cuda.get_device_properties(x_ND.device).multi_processor_count)
    kernels.tile_best[(programs,)](
        x_tiles, c_tiles, bias_K, keys_TN, n, k, half_KD.shape[1], programs,
        ROWS=how.rows, COLUMNS=how.columns, DEPTH=how.depth, GROUP=how.group, num_warps=how.warps, num_stages=how.stages,
    )  # fmt: skip
    kernels.best_two[(-(-n // 256),)](keys_TN, two_2N, n, tiles, ROWS=256, COLUMNS=how.columns)
    kernels.better_of_two[(-(-n // 16),)](x_ND, c_KD, bias_K, two_2N, label_N, score_N, n, dims, ROWS=16, DEPTH=128)


def _half(x: Tensor) -> Tensor:
    """bf16, its rows a multiple of 16 bytes."""
    return functional.pad(x.bfloat16(), (0, -x.shape[1] % ALIGNED)).contiguous()


def _tiles(half: Tensor, rows: int, depth: int) -> Any:
    from triton.tools.tensor_descriptor import TensorDescriptor  # pyright: ignore[reportMissingImports]

    return TensorDescriptor(half, list(half.shape), list(half.stride()), [rows, depth])


@functools.cache
def _kernels() -> Any:
    """The Triton kernels, compiled at their first use: Triton is there only where a GPU build of torch is."""
    from curation.kmeans import fused_kernel

    return fused_kernel
