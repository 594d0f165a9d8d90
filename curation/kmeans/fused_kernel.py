"""The kernel of `fused`, which is the only one to import it: Triton is there only where a GPU build of torch is.

Letters: N rows, D dimensions, K centroids.
"""

# No `from __future__ import annotations`: Triton reads the annotations of the kernel.
# pyright: basic

from typing import Any

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]


@triton.jit
def two_best(
    x_ptr: Any,
    c_ptr: Any,
    bias_ptr: Any,
    out_ptr: Any,
    n: Any,
    k: Any,
    dims: Any,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
) -> None:
    """x (N, D) and c (K, D) bf16, bias (K,) float32; out (N, 2) int64: the two centroids of largest x . c + bias.

    A best of one tile of centroids is merged with the best so far; the second of the tile too. Where K is 1, both are 0.
    """
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    first, second = tl.full((ROWS,), float("-inf"), tl.float32), tl.full((ROWS,), float("-inf"), tl.float32)
    first_at, second_at = tl.zeros((ROWS,), tl.int64), tl.zeros((ROWS,), tl.int64)
    for start in range(0, k, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        product = tl.zeros((ROWS, COLUMNS), tl.float32)
        for deep in range(0, dims, DEPTH):
            depth = deep + tl.arange(0, DEPTH)
            x = tl.load(
                x_ptr + rows[:, None] * dims + depth[None, :],
                mask=(rows[:, None] < n) & (depth[None, :] < dims),
                other=0.0,
            )
            c = tl.load(
                c_ptr + columns[None, :].to(tl.int64) * dims + depth[:, None],
                mask=(columns[None, :] < k) & (depth[:, None] < dims),
                other=0.0,
            )
            product = tl.dot(x, c, product)
        bias = tl.load(bias_ptr + columns, mask=columns < k, other=float("-inf"))
        product += bias[None, :]
        top = tl.max(product, axis=1)
        place = tl.argmax(product, axis=1)
        rest = tl.where(tl.arange(0, COLUMNS)[None, :] == place[:, None], float("-inf"), product)
        next_top = tl.max(rest, axis=1)
        next_place = tl.argmax(rest, axis=1)
        top_at, next_at = (start + place).to(tl.int64), (start + next_place).to(tl.int64)
        wins = top > first
        runner = tl.where(wins, first, top)  # the loser of the two bests meets the other seconds
        runner_at = tl.where(wins, first_at, top_at)
        own = tl.where(wins, next_top, second)
        own_at = tl.where(wins, next_at, second_at)
        first, first_at = tl.where(wins, top, first), tl.where(wins, top_at, first_at)
        keep = runner >= own
        second, second_at = tl.where(keep, runner, own), tl.where(keep, runner_at, own_at)
    second_at = tl.where(second == float("-inf"), first_at, second_at)
    tl.store(out_ptr + rows * 2, first_at, mask=rows < n)
    tl.store(out_ptr + rows * 2 + 1, second_at, mask=rows < n)
