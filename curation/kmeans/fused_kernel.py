"""The kernels of `fused`, which is the only one to import them: Triton is there only where a GPU build of torch is.

A product of matrices whose tiles end in the best centroid of each row instead of being written: what reaches memory is one
number for each row and tile of centroids. Letters: N rows, D dimensions, K centroids, T tiles of centroids.
"""

# No `from __future__ import annotations`, and no other annotations: Triton reads those of a kernel.
# pyright: basic

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]


@triton.jit
def ordered(score, place, COLUMNS: tl.constexpr):
    """int32 keys that sort as the scores do; the lowest bits say which column, of equal scores the lower one's is larger."""
    bits = score.to(tl.int32, bitcast=True)
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (bits & ~(COLUMNS - 1)) | (COLUMNS - 1 - place)


@triton.jit
def tile_best(
    x_tiles,
    c_tiles,
    bias_ptr,
    out_ptr,
    n,
    k,
    dims,
    programs,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
) -> None:
    """x (N, D) and c (K, D) bf16 as tensor descriptors, bias (K,) float32; out (T, N) int32: the best key of each tile.

    Programs go through the tiles in groups of GROUP row tiles, so that a tile of centroids is read once for all of them.
    """
    row_tiles, column_tiles = tl.cdiv(n, ROWS), tl.cdiv(k, COLUMNS)
    for tile in tl.range(tl.program_id(0), row_tiles * column_tiles, programs, flatten=True):
        group = tile // (GROUP * column_tiles)
        here = min(row_tiles - group * GROUP, GROUP)
        inside = tile % (GROUP * column_tiles)
        row, column = (group * GROUP + inside % here) * ROWS, (inside // here) * COLUMNS
        product = tl.zeros((ROWS, COLUMNS), tl.float32)
        for deep in range(0, dims, DEPTH):
            product = tl.dot(x_tiles.load([row, deep]), c_tiles.load([column, deep]).T, product)
        place = tl.arange(0, COLUMNS)
        bias = tl.load(bias_ptr + column + place, mask=column + place < k, other=float("-inf"))
        key = tl.max(ordered(product + bias[None, :], place[None, :], COLUMNS), axis=1)
        rows = row + tl.arange(0, ROWS)
        tl.store(out_ptr + (column // COLUMNS).to(tl.int64) * n + rows, key, mask=rows < n)


@triton.jit
def best_two(keys_ptr, out_ptr, n, tiles, ROWS: tl.constexpr, COLUMNS: tl.constexpr) -> None:
    """keys (T, N) int32; out (2, N) int32: the columns of the best of all tiles and of the next tile's best.

    Keys are compared without the bits that name a column, so of equal scores the lower tile's stays. Where T is 1, both are it.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    first = tl.load(keys_ptr + rows, mask=rows < n, other=0)
    first_at = COLUMNS - 1 - (first & (COLUMNS - 1))
    first = first & ~(COLUMNS - 1)
    second, second_at = tl.full((ROWS,), -2147483648, tl.int32), first_at
    for tile in range(1, tiles):
        key = tl.load(keys_ptr + tl.cast(tile, tl.int64) * n + rows, mask=rows < n, other=0)
        at = tile * COLUMNS + COLUMNS - 1 - (key & (COLUMNS - 1))
        key = key & ~(COLUMNS - 1)
        wins = key > first
        loser, loser_at = tl.where(wins, first, key), tl.where(wins, first_at, at)
        first, first_at = tl.where(wins, key, first), tl.where(wins, at, first_at)
        closer = loser > second
        second, second_at = tl.where(closer, loser, second), tl.where(closer, loser_at, second_at)
    tl.store(out_ptr + rows, first_at, mask=rows < n)
    tl.store(out_ptr + n + rows, second_at, mask=rows < n)


@triton.jit
def better_of_two(
    x_ptr,
    c_ptr,
    bias_ptr,
    two_ptr,
    label_ptr,
    score_ptr,
    n,
    dims,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
) -> None:
    """x (N, D), c (K, D) and bias float32, two (2, N) int32; label (N,) int64 and score (N,) float32 of the better one.

    float32 throughout; of equal scores the lower number's.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    known = rows < n
    a, b = tl.load(two_ptr + rows, mask=known, other=0), tl.load(two_ptr + n + rows, mask=known, other=0)
    low, high = tl.minimum(a, b), tl.maximum(a, b)
    lows, highs = tl.zeros((ROWS, DEPTH), tl.float32), tl.zeros((ROWS, DEPTH), tl.float32)
    for deep in range(0, dims, DEPTH):
        depth = deep + tl.arange(0, DEPTH)
        inside = known[:, None] & (depth < dims)[None, :]
        x = tl.load(x_ptr + rows[:, None].to(tl.int64) * dims + depth[None, :], mask=inside, other=0.0)
        lows += x * tl.load(c_ptr + low[:, None].to(tl.int64) * dims + depth[None, :], mask=inside, other=0.0)
        highs += x * tl.load(c_ptr + high[:, None].to(tl.int64) * dims + depth[None, :], mask=inside, other=0.0)
    low_score = tl.sum(lows, axis=1) + tl.load(bias_ptr + low, mask=known, other=0.0)
    high_score = tl.sum(highs, axis=1) + tl.load(bias_ptr + high, mask=known, other=0.0)
    wins = high_score > low_score
    tl.store(label_ptr + rows, tl.where(wins, high, low).to(tl.int64), mask=known)
    tl.store(score_ptr + rows, tl.where(wins, high_score, low_score), mask=known)
