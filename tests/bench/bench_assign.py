"""How fast does a GPU assign rows to centroids: our kernel against the card's own matmul rate, and flash-kmeans.

    python -m tests.bench.bench_assign --json [--flash DIR]

1,000,000 rows x 1,280 dimensions to 100,000 centroids, drawn, unit length; time of `fused.best` whole (to bf16, product,
best of all tiles, best two again in float32), the median of three. DIR: a checkout of flash-kmeans, whose own assignment is
timed on the same tensors. The last line is one JSON object; what failed has its error in place of a figure.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from curation.kmeans import fused
from curation.kmeans.fused import Tiling

TILINGS = {
    "128x256": Tiling(),
    "128x256, 4 stages": Tiling(stages=4),
    "128x256, groups of 16": Tiling(group=16),
    "128x256, a program a tile": Tiling(persistent=False, stages=4),
    "128x128, 4 warps, a program a tile": Tiling(columns=128, warps=4, persistent=False),
    "256x128": Tiling(rows=256, columns=128),
}
CHECKED = ((1, 1, 8), (1000, 2, 384), (513, 130, 100), (3001, 4099, 1280))  # rows, centroids, dimensions


def seconds(work: Callable[[], Any], times: int = 3) -> float:
    """The median, after one run that is not counted."""
    taken = []
    for _ in range(times + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def matmul_rate() -> float:
    """FLOP/s of the card's own bf16 product."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / seconds(lambda: [a @ b for _ in range(10)]) * 10


def drawn(n: int, k: int, dims: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, centroids, bias 0."""
    torch.manual_seed(0)
    x, c = (torch.nn.functional.normalize(torch.randn(count, dims, device="cuda")) for count in (n, k))
    return x, c, torch.zeros(k, device="cuda")


def regret(tiling: Tiling) -> float:
    """How far below the best score, at most, over shapes that fit no tile."""
    worst = 0.0
    for n, k, dims in CHECKED:
        x, c, bias = drawn(n, k, dims)
        bias = torch.randn(k, device="cuda") * 0.1
        label, score = fused.by_kernel(x, c, bias, tiling)
        exact = x.double() @ c.double().T + bias
        found = exact.gather(1, label[:, None])[:, 0]
        worst = max(worst, float((exact.amax(1) - found).max()), float((score - found).abs().max()))
    return worst


def flash(folder: str, x: Tensor, c: Tensor) -> float:
    """Seconds of flash-kmeans's assignment (Euclidean, which for unit rows names the same centroid)."""
    sys.path.insert(0, folder)
    from flash_kmeans.assign_euclid_triton import euclid_assign_triton  # pyright: ignore[reportMissingImports]

    half, middle = x.bfloat16()[None], c.bfloat16()[None]
    norms = half.float().square().sum(-1)
    return seconds(lambda: euclid_assign_triton(half, middle, norms))


def tried(work: Callable[[], Any]) -> Any:
    """A result, or the error's text."""
    try:
        return work()
    except Exception as error:  # one failure must not lose the other figures
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def measured(n: int, k: int, dims: int, folder: str) -> dict[str, Any]:
    """All figures of one shape."""
    x, c, bias = drawn(n, k, dims)
    operations, peak = 2.0 * n * k * dims, matmul_rate()
    table = {name: tried(lambda how=how: seconds(lambda: fused.by_kernel(x, c, bias, how))) for name, how in TILINGS.items()}
    right = {name: tried(lambda how=how: regret(how)) for name, how in TILINGS.items()}
    took = tried(lambda: seconds(lambda: fused.best(x, c, bias)))
    out: dict[str, Any] = {"shape": [n, k, dims], "matmul_tflops": round(peak / 1e12, 1), "seconds": took, "tilings": table}
    out |= {"regret": right, "default": asdict(Tiling())}
    if isinstance(took, float):
        out["share_of_matmul"] = round(operations / took / peak, 3)
    if folder:
        theirs = tried(lambda: flash(folder, x, c))
        out["flash_seconds"] = theirs
        out["vs_flash"] = round(theirs / took, 2) if isinstance(theirs, float) and isinstance(took, float) else None
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--centroids", type=int, default=100_000)
    parser.add_argument("--dims", type=int, default=1280)
    parser.add_argument("--flash", default="", help="a checkout of flash-kmeans")
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print(json.dumps({"share_of_matmul": None, "why": "no GPU"}))
        return
    result = measured(args.rows, args.centroids, args.dims, args.flash)
    result["device"] = torch.cuda.get_device_name()
    if not args.json:
        for name, taken in result["tilings"].items():
            print(f"{name:40} {taken}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
